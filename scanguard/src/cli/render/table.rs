//! Tables.

use super::Paint;

/// To which side the cells of a column go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under their headings, as wide as they need to be.
pub(super) fn table<const N: usize>(columns: [(&str, Side); N], rows: &[[String; N]], paint: Paint) -> String {
    let heading = columns.map(|(name, _)| name.to_owned());
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().chain([&heading]).map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let line = |cells: &[String; N]| {
        let aligned = cells.iter().zip(widths).zip(columns).map(|((cell, width), (_, side))| match side {
            Side::Left => format!("{cell:<width$}"),
            Side::Right => format!("{cell:>width$}"),
        });
        aligned.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = paint.strong(&line(&heading)) + "\n";
    for row in rows {
        text.push_str(&line(row));
        text.push('\n');
    }
    text
}
