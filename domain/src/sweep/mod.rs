//! The file a user writes: read, checked, and typed.
//!
//! [`parse`] finds every mistake that can be found without opening another file; [`crate::plan::plan`] finds the rest, given what is known of
//! the files that [`Sweep::files`] asks for.

mod analysis_section;
mod attack_section;
mod cascade;
mod check;
mod diagnostic;
mod facts;
mod field;
mod files;
mod grid;
mod place;
mod read;
mod report;
mod sections;
mod table;
mod usage;
mod words;

pub use analysis_section::{Against, AnalysisSection};
pub use attack_section::{AttackSection, AttackTemplate, CascadeSection, SourceRun, UapTemplate};
pub use diagnostic::Diagnostic;
pub use facts::{Facts, FileContent, FileFacts, FilePlace, FileRequest, FileRole, FolderClass, MOST_CLASSES};
pub use grid::{Grid, GridRun, MOST_CELLS};
pub use place::{Located, Place};
pub use sections::{
    DatasetRef, DatasetSection, FeatureSet, FeaturesSection, FolderFiles, Freeze, GlyphSection, HeldOut, IdxFiles,
    InitSection, InitStart, KeptClass, KeptClasses, ModelSection, Origin, PerChannel, Pretrain, RecipeRef,
    RecipeSection, StepSize, Sweep,
};
pub(crate) use usage::{SplitUse, Usage};
pub(crate) use words::{counted, grouped};

/// Reads a sweep file.
///
/// # Errors
/// Every mistake in it, in the order of the file.
pub fn parse(source: &str) -> Result<Sweep, Vec<Diagnostic>> {
    read::read(source)
}
