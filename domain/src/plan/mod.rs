//! Sweep → runs → graph of tasks, each named by the hash of what it computes.

mod analyses;
mod attacks;
mod checkpoint;
mod cost;
mod datasets;
mod features;
mod graph;
mod models;
mod planner;
mod recipes;
mod subsets;
mod summary;
mod tasks;
mod weights;

pub use graph::{AnalysisCell, Cell, Plan, PlannedTask, TaskKind};
pub use planner::plan;
pub use summary::{KindSummary, Summary};
