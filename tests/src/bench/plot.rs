//! Figures as a picture: bars, each with its spread.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, Color as _, DrawingArea, DrawingBackend, IntoDrawingArea as _, IntoFont as _, PathElement, RGBColor,
    Rectangle, SVGBackend, Text, WHITE,
};

/// Pixels: of the whole width, of what names take of it, of what is left for figures, and of a row.
const WIDTH: u32 = 860;
const NAMES: i32 = 250;
const FIGURES: i32 = 70;
const ROW: i32 = 20;
const TITLE: i32 = 34;
/// Of scanguard, and of what stands beside it.
const OWN: RGBColor = RGBColor(0x1f, 0x6f, 0xb5);
const OTHER: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// What is shown, and in which unit.
    pub title: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What it is of.
    pub name: String,
    /// Its length.
    pub median: f64,
    /// Least of the rounds.
    pub min: f64,
    /// Most of the rounds.
    pub max: f64,
    /// Whether it is scanguard's own.
    pub is_own: bool,
}

impl Bars {
    /// Draws it as SVG, for white paper.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn draw(&self, file: &Path) -> Result<()> {
        fs::write(file, self.svg()?).with_context(|| format!("cannot write {}", file.display()))
    }

    fn svg(&self) -> Result<String> {
        let height = TITLE + ROW * i32::try_from(self.bars.len()).context("too many bars")? + ROW / 2;
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, (WIDTH, height.unsigned_abs())).into_drawing_area();
        self.draw_on(&area).map_err(|error| anyhow!("cannot draw: {error}"))?;
        drop(area);
        Ok(text)
    }

    fn draw_on<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), String> {
        let told = |error: plotters::drawing::DrawingAreaErrorKind<B::ErrorType>| error.to_string();
        let (heading, font) = (("sans-serif", 15).into_font(), ("sans-serif", 12).into_font());
        area.fill(&WHITE).map_err(told)?;
        area.draw(&Text::new(self.title.clone(), (8, 8), heading)).map_err(told)?;
        let most = self.bars.iter().map(|bar| bar.max).fold(f64::MIN_POSITIVE, f64::max);
        let room = f64::from(WIDTH as i32 - NAMES - FIGURES);
        let at = |value: f64| NAMES + (value.max(0.0) / most * room).round() as i32;
        for (row, Bar { name, median, min, max, is_own }) in (0..).zip(&self.bars) {
            let top = TITLE + row * ROW;
            let color = if *is_own { OWN } else { OTHER };
            let (middle, bottom) = (top + ROW / 2 - 2, top + ROW - 5);
            area.draw(&Text::new(name.clone(), (8, top + 1), font.clone())).map_err(told)?;
            area.draw(&Rectangle::new([(NAMES, top), (at(*median).max(NAMES + 1), bottom)], color.filled()))
                .map_err(told)?;
            area.draw(&PathElement::new([(at(*min), middle), (at(*max), middle)], BLACK)).map_err(told)?;
            let figure =
                if *median < 10.0 && median.fract() != 0.0 { format!("{median:.2}") } else { format!("{median:.0}") };
            area.draw(&Text::new(figure, (at(*max) + 6, top + 1), font.clone())).map_err(told)?;
        }
        area.present().map_err(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_is_in_the_picture_with_its_name_and_figure() {
        let bar =
            |name: &str, median| Bar { name: name.into(), median, min: median / 2.0, max: median * 2.0, is_own: true };
        let bars = Bars { title: "Nanoseconds".into(), bars: vec![bar("a known SYN", 72.0), bar("nothing", -0.5)] };
        let svg = bars.svg().expect("a picture");
        for text in ["<svg", "Nanoseconds", "a known SYN", "72", "nothing", "-0.50"] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        assert!(bars.draw(Path::new("/nonexistent/plot.svg")).is_err());
    }
}
