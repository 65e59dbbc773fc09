//! A sweep file with the facts of its files, planned.

use gauntlet_domain::plan::{self, Plan};
use gauntlet_domain::sweep::{self, Diagnostic, Facts};
use gauntlet_domain::{Digest, catalogue};
use gauntlet_proto::convert::{self, InvalidField, LocatedFile};
use gauntlet_proto::v1;

use crate::status::Error;

/// Largest sweep file.
const MAX_TOML: usize = 16 * 1024 * 1024;
/// Longest path.
const MAX_LOCATION: usize = 4096;

/// A sweep that may be written.
#[derive(Debug)]
pub struct Planned {
    /// The graph.
    pub plan: Plan,
    /// The sweep file.
    pub toml: String,
    /// Where the files lie.
    pub locations: Vec<(Digest, String)>,
}

/// Plans a sweep, away from the threads that serve the network.
///
/// # Errors
/// All mistakes in it, each with its place.
pub async fn plan(source: Option<v1::SweepSource>) -> Result<Planned, Error> {
    let v1::SweepSource { toml, files } = convert::required(source, "source")?;
    if toml.len() > MAX_TOML {
        return Err(InvalidField::new("source.toml", format!("{} bytes are more than {MAX_TOML}", toml.len())).into());
    }
    let files = convert::located_files(files)?;
    for (index, file) in files.iter().enumerate() {
        if file.location.len() > MAX_LOCATION || file.location.contains('\0') {
            return Err(InvalidField::new(format!("source.files[{index}].location"), "not a path").into());
        }
    }
    let planning = tokio::task::spawn_blocking(move || {
        let plan = plan_now(&toml, &files)?;
        let locations = files
            .into_iter()
            .map(|file| (file.facts.digest, file.location))
            .filter(|(_, location)| !location.is_empty());
        Ok(Planned { plan, locations: locations.collect(), toml })
    });
    planning.await.map_err(|error| Error::Bug(format!("planning a sweep: {error}")))?
}

fn plan_now(toml: &str, files: &[LocatedFile]) -> Result<Plan, Error> {
    let refuse = |diagnostics: Vec<Diagnostic>| Error::Invalid(message(toml, &diagnostics));
    let sweep = sweep::parse(toml).map_err(refuse)?;
    let mut facts: Facts = catalogue::pinned_facts();
    facts.files.extend(convert::facts(files).files);
    let plan = plan::plan(&sweep, &facts).map_err(refuse)?;
    if let Some(cell) = plan.cells.iter().find(|cell| i64::try_from(cell.seed).is_err()) {
        return Err(Error::Invalid(format!("seed {} is too big", cell.seed)));
    }
    Ok(plan)
}

/// One line per mistake: `line:column: field: message (help)`.
fn message(toml: &str, diagnostics: &[Diagnostic]) -> String {
    let line = |diagnostic: &Diagnostic| {
        let (line, column) = diagnostic.line_and_column(toml);
        let field = if diagnostic.field.is_empty() { String::new() } else { format!("{}: ", diagnostic.field) };
        let help = diagnostic.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{line}:{column}: {field}{}{help}", diagnostic.message)
    };
    if diagnostics.is_empty() {
        return "the sweep cannot be planned".to_owned();
    }
    diagnostics.iter().map(line).collect::<Vec<_>>().join("\n")
}
