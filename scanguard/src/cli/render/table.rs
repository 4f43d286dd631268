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

/// Rows under their headings, as wide as they need to be.
/// Cells are one line each, whatever is in them.
pub(super) fn table<const N: usize>(columns: [(&str, Side); N], rows: &[[String; N]], paint: Paint) -> String {
    let rows: Vec<[Cow<'_, str>; N]> =
        rows.iter().map(|row| row.each_ref().map(|cell| printable::line(cell))).collect();
    let heading = columns.map(|(name, _)| Cow::Borrowed(name));
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().chain([&heading]).map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    let line = |cells: &[Cow<'_, str>; N]| {
        let aligned = cells.iter().zip(widths).zip(columns).map(|((cell, width), (_, side))| match side {
            Side::Left => format!("{cell:<width$}"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_line_and_moves_no_cursor() {
        let rows = [["a\nb".to_owned(), "1".to_owned()], ["\u{1b}[2J\u{202e}x".to_owned(), "22".to_owned()]];
        let text = table([("NAME", Side::Left), ("N", Side::Right)], &rows, Paint::new(false));
        assert_eq!(text, "NAME                 N\na\\nb                 1\n\\u{1b}[2J\\u{202e}x  22\n");
    }
}
