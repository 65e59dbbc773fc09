//! Names of sections, and references to them.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::ids::is_name;
use crate::sweep::field::{Field, shortened};
use crate::sweep::report::suggest;
use crate::sweep::table::Table;

/// The names of all axes of the grid but the seeds.
pub(super) struct AxisNames<'a> {
    pub(super) datasets: Names<'a>,
    pub(super) models: Names<'a>,
    pub(super) inits: Names<'a>,
    pub(super) recipes: Names<'a>,
    pub(super) attacks: Names<'a>,
}

/// The names of the sections of one kind, in the order of the file. They are known before the sections are read, so that references can go forward
/// and a mistake inside a section does not make its name unknown.
pub(super) struct Names<'a> {
    what: &'static str,
    numbers: HashMap<Cow<'a, str>, usize>,
    in_order: Vec<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    pub(super) fn collect(tables: &[Table<'a>], what: &'static str, source: &str) -> Self {
        Self::collect_by(tables, what, source, |table| {
            let field = table.peek("name")?;
            let name = field.value.as_str().map(Cow::Borrowed)?;
            Some((field, name))
        })
    }

    /// Collects names, each with the field that gives it; says where one stands twice.
    pub(super) fn collect_by(
        tables: &[Table<'a>],
        what: &'static str,
        source: &str,
        name: impl Fn(&Table<'a>) -> Option<(Field<'a>, Cow<'a, str>)>,
    ) -> Self {
        let mut names = Self { what, numbers: HashMap::new(), in_order: Vec::new() };
        let mut lines = HashMap::new();
        for (number, table) in tables.iter().enumerate() {
            let Some((field, text)) = name(table) else { continue };
            let line = field.at.mistake("").line_and_column(source).0;
            if let Some(first) = lines.get(&text) {
                let message =
                    format!("the {what} `{}` is declared twice: in lines {first} and {line}", shortened(&text));
                field.report.mistake_with_help(&field.at, message, "give one of them another `name`");
                continue;
            }
            lines.insert(text.clone(), line);
            names.numbers.insert(text.clone(), number);
            names.in_order.push(text);
        }
        names
    }

    pub(super) fn add(&mut self, name: &'a str) {
        self.numbers.insert(name.into(), self.numbers.len());
        self.in_order.push(name.into());
    }

    /// The names, in the order of the file.
    pub(super) fn in_order(&self) -> Vec<&str> {
        self.in_order.iter().map(AsRef::as_ref).collect()
    }

    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// The number of the section that the field names; a mistake if there is none.
    pub(super) fn resolve(&self, field: &Field<'a>) -> Option<usize> {
        let text = field.text(&format!("the name of a {}", self.what))?;
        let number = self.number(text);
        if number.is_none() {
            let message = format!("there is no {} `{}` in this sweep", self.what, shortened(text));
            let help = suggest(text, "declared", &self.in_order());
            field.report.push(field.at.mistake(message).with_optional_help(help));
        }
        number
    }
}

/// A text that may stand as a name.
pub(super) fn name_text<'a>(field: &Field<'a>) -> Option<&'a str> {
    let expected = "a name of 1 to 128 letters, digits, `-`, `_` or `.`";
    let text = field.text(expected)?;
    if is_name(text) { Some(text) } else { field.expected(expected) }
}

/// The required `name` of a section.
pub(super) fn required_name(table: &mut Table<'_>, example: &str) -> Option<String> {
    let field = table.required("name", &format!("for example: name = \"{example}\""))?;
    name_text(&field).map(str::to_owned)
}
