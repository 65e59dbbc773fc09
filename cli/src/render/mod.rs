//! Answers as tables, CSV, JSON and Parquet.

mod analyses;
mod columns;
mod footnotes;
mod images;
mod outcomes;
mod results;
mod sink;
pub mod tables;

pub use analyses::{write_analyses, write_analysis_tables};
pub use footnotes::footnotes;
pub use images::write_images;
pub use outcomes::write_outcomes;
pub use results::{summary_table, write_results};
pub use sink::Sink;
