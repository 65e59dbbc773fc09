//! A sweep file on disk, with what is found in the files it names.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use gauntlet_domain::catalogue::CatalogueSource;
use gauntlet_domain::plan::{Plan, plan};
use gauntlet_domain::sweep::{Diagnostic, FilePlace, FileRequest, FileRole, Sweep, parse};
use gauntlet_proto::convert::{LocatedFile, facts};
use gauntlet_proto::v1;
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report};

/// Most bytes of a sweep file.
const MAX_SWEEP_BYTES: u64 = 16 * 1024 * 1024;

/// A sweep that is good as far as this machine can tell.
pub struct GoodSweep {
    pub sweep: Sweep,
    pub plan: Plan,
    source: v1::SweepSource,
}

impl GoodSweep {
    /// What is sent to a coordinator.
    pub fn wire(&self) -> v1::SweepSource {
        self.source.clone()
    }
}

/// A sweep with mistakes, and where they stand.
#[derive(Debug)]
pub struct BadSweep {
    path: PathBuf,
    text: String,
    mistakes: Vec<Diagnostic>,
}

impl std::error::Error for BadSweep {}

impl std::fmt::Display for BadSweep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} mistakes", self.path.display(), self.mistakes.len())
    }
}

impl BadSweep {
    /// Every mistake with the lines it stands in; coloured where stderr is a terminal.
    pub fn rendered(&self) -> String {
        let theme = if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(110).with_context_lines(1);
        let mut text = String::new();
        for mistake in &self.mistakes {
            let report = Report::new(self.diagnostic(mistake)).with_source_code(
                NamedSource::new(self.path.to_string_lossy(), self.text.clone()).with_language("toml"),
            );
            // Rendering into a string fails only where the label lies outside the text; the message is what counts then.
            if handler.render_report(&mut text, report.as_ref()).is_err() {
                text.push_str(&format!("error: {}: {}\n", mistake.field, mistake.message));
            }
        }
        let count = self.mistakes.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        text.push_str(&format!("error: {} has {count} {noun}; nothing was submitted\n", self.path.display()));
        text
    }

    fn diagnostic(&self, mistake: &Diagnostic) -> MietteDiagnostic {
        let message = if mistake.field.is_empty() {
            mistake.message.clone()
        } else {
            format!("{}: {}", mistake.field, mistake.message)
        };
        let start = mistake.span.start.min(self.text.len());
        let end = mistake.span.end.clamp(start, self.text.len());
        let diagnostic = MietteDiagnostic::new(message).with_label(LabeledSpan::underline(start..end));
        match &mistake.help {
            Some(help) => diagnostic.with_help(help),
            None => diagnostic,
        }
    }
}

/// Reads a sweep file, opens every file it names, and plans it: every mistake that can be found is found before anybody else hears of it.
///
/// # Errors
/// [`BadSweep`], or the file cannot be read.
pub fn read(path: &Path, data_dir: &Path) -> anyhow::Result<GoodSweep> {
    let text = read_text(path)?;
    let bad = |mistakes| BadSweep { path: path.to_owned(), text: text.clone(), mistakes };
    let sweep = parse(&text).map_err(bad)?;
    // As the user wrote it: messages about the files read best so.
    let base = path.parent().unwrap_or(Path::new(""));
    let files = inspect_all(&sweep, base, data_dir).map_err(bad)?;
    let plan = plan(&sweep, &facts(&files)).map_err(bad)?;
    let source = v1::SweepSource { toml: text, files: files.into_iter().map(Into::into).collect() };
    Ok(GoodSweep { sweep, plan, source })
}

/// Tells on stderr how the files of a plan were read, where that is not obvious.
pub fn print_notes(plan: &Plan) {
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?.len();
    anyhow::ensure!(
        size <= MAX_SWEEP_BYTES,
        "{} has {size} bytes; a sweep file has at most {MAX_SWEEP_BYTES}",
        path.display()
    );
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn inspect_all(sweep: &Sweep, base: &Path, data_dir: &Path) -> Result<Vec<LocatedFile>, Vec<Diagnostic>> {
    let mut files = Vec::new();
    let mut mistakes = Vec::new();
    for request in sweep.files() {
        match inspect(&request, base, data_dir) {
            Ok(file) => files.push(file),
            Err(message) => mistakes.push(mistake(&request, message)),
        }
    }
    if mistakes.is_empty() { Ok(files) } else { Err(mistakes) }
}

fn mistake(request: &FileRequest, message: String) -> Diagnostic {
    let mistake = request.at.mistake(message);
    match request.place {
        FilePlace::Sweep(_) => mistake,
        FilePlace::Data(_) => {
            let expected = expected_files(request).map(|files| format!("; expected: {files}")).unwrap_or_default();
            mistake.with_help(format!(
                "data of the catalogue lies below --data-dir (GAUNTLET_DATA); `make setup` brings what is free{expected}"
            ))
        }
    }
}

/// Where the catalogue expects the files of a data set that the user brings.
fn expected_files(request: &FileRequest) -> Option<String> {
    let FilePlace::Data(path) = &request.place else { return None };
    let catalogue = gauntlet_domain::catalogue::datasets();
    let named = |source: &CatalogueSource| match source {
        CatalogueSource::Drawn => false,
        CatalogueSource::Idx { splits, variant: _ } => {
            splits.iter().flat_map(|files| [&files.images, &files.labels]).any(|file| file.path == *path)
        }
        CatalogueSource::Cifar { train, test, variant: _ } => train.contains(path) || test == path,
        CatalogueSource::Folder { path: root, test_percent: _ } => path.split('/').next() == Some(root),
    };
    catalogue.iter().find(|entry| named(&entry.source))?.source.expected()
}

fn inspect(request: &FileRequest, base: &Path, data_dir: &Path) -> Result<LocatedFile, String> {
    let path = match &request.place {
        FilePlace::Sweep(path) => base.join(path),
        FilePlace::Data(path) => data_dir.join(path),
    };
    let path = match request.role {
        FileRole::ImageFolder { or_val } => gauntlet_data::find_folder(&path, or_val),
        _ => path,
    };
    let facts = gauntlet_data::inspect(request.role, &path).map_err(|error| error.to_string())?;
    let location = std::path::absolute(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let location = location.to_str().ok_or_else(|| format!("{}: the path is not UTF-8", path.display()))?.to_owned();
    Ok(LocatedFile { place: request.place.clone(), facts, location })
}
