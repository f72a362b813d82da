//! Columns that fit: words left-aligned, numbers right-aligned, columns dropped from the right when narrow, never wrapped.

/// A table to print.
#[derive(Clone, Debug, Default)]
pub struct Table {
    headers: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

impl Table {
    pub fn new(headers: &[(&'static str, Align)]) -> Self {
        Self { headers: headers.to_vec(), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Lines without trailing blanks; `width` in characters.
    pub fn lines(&self, width: usize) -> Vec<String> {
        let cell_width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([self.headers[column].0.chars().count()]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.headers.len()).map(cell_width).collect();
        let total = |widths: &[usize]| widths.iter().sum::<usize>() + 3 * widths.len().saturating_sub(1);
        while widths.len() > 1 && total(&widths) > width {
            widths.pop();
        }
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = widths.iter().zip(&self.headers).zip(cells).map(|((width, (_, align)), cell)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
        };
        let header = line(&mut self.headers.iter().map(|(name, _)| *name));
        let rows = self.rows.iter().map(|row| line(&mut row.iter().map(String::as_str)));
        std::iter::once(header).chain(rows).collect()
    }
}

/// Columns of the terminal behind stdout, else 80.
pub fn terminal_width() -> usize {
    dialoguer::console::Term::stdout().size_checked().map_or(80, |(_, columns)| columns.into())
}

#[cfg(test)]
mod tests {
    use super::{Align, Table};

    #[test]
    fn drops_columns_from_the_right_and_never_wraps() {
        let mut table = Table::new(&[("listener", Align::Left), ("pid", Align::Right), ("serves", Align::Left)]);
        table.row(["0.0.0.0:443".into(), "7".into(), "page".into()]);
        assert_eq!(table.lines(80), ["listener      pid   serves", "0.0.0.0:443     7   page"]);
        assert_eq!(table.lines(20), ["listener      pid", "0.0.0.0:443     7"]);
        assert_eq!(table.lines(3), ["listener", "0.0.0.0:443"]);
    }
}
