//! Tables in HTML.

use maud::{Markup, html};

/// A table with these headings; the columns of these numbers are aligned as numbers.
pub fn new(header: &[impl AsRef<str>], numbers: &[usize], rows: &[Vec<String>]) -> Markup {
    let class = |column: usize| numbers.contains(&column).then_some("number");
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr { @for (column, name) in header.iter().enumerate() { th scope="col" class=[class(column)] { (name.as_ref()) } } } }
                tbody {
                    @for row in rows {
                        tr { @for (column, cell) in row.iter().enumerate() { td class=[class(column)] { (cell) } } }
                    }
                }
            }
        }
    }
}

/// A table that is made for terminals.
pub fn of(table: &comfy_table::Table, numbers: &[usize]) -> Markup {
    let cells = |row: &comfy_table::Row| row.cell_iter().map(comfy_table::Cell::content).collect::<Vec<String>>();
    let header = table.header().map(cells).unwrap_or_default();
    new(&header, numbers, &table.row_iter().map(cells).collect::<Vec<_>>())
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// A difference of shares in percentage points.
pub fn points(difference: f64) -> String {
    format!("{:+.1}", 100.0 * difference).replace('-', "−")
}
