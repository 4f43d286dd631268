//! Tables.

use std::borrow::Cow;

use super::Paint;
use crate::printable;

/// To which side the cells of a column go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A column is not made narrower than this, nor one that is narrower.
const LEAST: usize = 12;
/// What is at most this wide is a number, a time or an address: only the last column is shortened then.
const WHOLE: usize = 24;

/// Rows under their headings, as wide as they need to be, on a terminal as wide as that: then the last column is shortened, and long texts
/// in others. The first one names the row, and is never shortened.
/// Cells are one line each, whatever is in them.
pub(super) fn table<const N: usize>(columns: [(&str, Side); N], rows: &[[String; N]], paint: Paint) -> String {
    let rows: Vec<[Cow<'_, str>; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| printable::line(cell))).collect();
    let heading = columns.map(|(name, _)| Cow::Borrowed(name));
    let mut widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().chain([&heading]).map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    if let Some(width) = paint.width {
        narrow(&mut widths, &columns, width);
    }
    let line = |cells: &[Cow<'_, str>; N]| {
        let aligned = cells.iter().zip(widths).zip(columns).map(|((cell, width), (_, side))| match side {
            Side::Left => format!("{:<width$}", shortened(cell, width)),
            Side::Right => format!("{cell:>width$}"),
        });
        aligned.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = paint.strong(&line(&heading)) + "\n";
    for row in &rows {
        text.push_str(&line(row));
        text.push('\n');
    }
    text
}

/// Makes columns narrower until they fit, as far as that goes: texts, the widest first, and the last column.
fn narrow<const N: usize>(widths: &mut [usize; N], columns: &[(&str, Side); N], within: usize) {
    let gaps = 2 * N.saturating_sub(1);
    loop {
        let over = (widths.iter().sum::<usize>() + gaps).saturating_sub(within);
        let may_shrink = |column: &usize| {
            let least = if *column + 1 == N { LEAST } else { WHOLE };
            *column > 0 && columns[*column].1 == Side::Left && widths[*column] > least
        };
        let Some(widest) = (1..N).filter(may_shrink).max_by_key(|column| widths[*column]) else { return };
        if over == 0 {
            return;
        }
        widths[widest] -= 1;
    }
}

/// A cell that fits.
fn shortened(cell: &str, width: usize) -> Cow<'_, str> {
    if cell.chars().count() <= width {
        return Cow::Borrowed(cell);
    }
    let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
    Cow::Owned(kept + "…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_terminal_a_table_fits_and_in_a_pipe_nothing_is_left_out() {
        let columns = [("SOURCE", Side::Left), ("N", Side::Right), ("RESULT", Side::Left), ("WHY", Side::Left)];
        let row = ["2001:db8:1:2:3:4:5:6".to_owned(), "1,000".to_owned(), "refused: ".repeat(9), "because ".repeat(20)];
        let lines = |width| -> Vec<String> {
            let paint = Paint::new(false).within(width);
            table(columns, std::slice::from_ref(&row), paint).lines().map(str::to_owned).collect()
        };
        for width in [80, 100, 120] {
            let longest = lines(Some(width)).iter().map(|line| line.chars().count()).max();
            assert!(longest.is_some_and(|longest| longest <= width), "{longest:?} columns of {width}");
        }
        let narrow = lines(Some(80));
        assert!(
            narrow[1].starts_with("2001:db8:1:2:3:4:5:6  1,000  refused: ") && narrow[1].ends_with('…'),
            "{}",
            narrow[1]
        );
        assert!(lines(None)[1].ends_with(row[3].trim_end()) && !lines(None)[1].contains('…'));
    }

    #[test]
    fn a_cell_is_one_line_and_moves_no_cursor() {
        let rows = [["a\nb".to_owned(), "1".to_owned()], ["\u{1b}[2J\u{202e}x".to_owned(), "22".to_owned()]];
        let text = table([("NAME", Side::Left), ("N", Side::Right)], &rows, Paint::new(false));
        assert_eq!(text, "NAME                 N\na\\nb                 1\n\\u{1b}[2J\\u{202e}x  22\n");
    }
}
