//! An evaluation that can go on where an earlier attempt at it was lost: resumable checkpoints between its blocks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gauntlet_domain::TaskId;
use gauntlet_domain::experiment::AttackResult;
use serde::{Deserialize, Serialize};

use super::template::Blocks;
use crate::checkpoint::write_whole;
use crate::error::LabError;
use crate::training::Wish;

/// Something that happened in an evaluation.
#[derive(Debug)]
pub enum Step<'a> {
    /// Examples done so far.
    Examples(usize),
    /// A block is done.
    Block,
    /// A resumable checkpoint after so many blocks is on disk.
    Checkpoint(&'a Path, u32),
}

/// Where an evaluation finds and leaves its resumable checkpoints.
pub struct Resumable<'a> {
    /// Which task this is: a checkpoint of another is refused.
    pub task: TaskId,
    /// A checkpoint to go on from.
    pub resume_from: Option<&'a Path>,
    /// An existing folder for checkpoints.
    pub output_dir: &'a Path,
    /// Shortest time between two of them.
    pub checkpoint_interval: Duration,
}

/// The blocks that are done.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    task: TaskId,
    blocks: u32,
    result: Option<AttackResult>,
}

/// Attacks all blocks that are evaluated but those that the checkpoint to go on from holds. The observer is asked what it wishes between batches and after each block; a
/// block in which it wishes to stop is begun anew by whoever goes on.
///
/// # Errors
/// A checkpoint that is damaged or another task's; a model whose output is not finite; a full disk; no memory; [`LabError::Stopped`], or before the
/// end of the first block [`LabError::Interrupted`].
pub fn evaluate_resumably(
    blocks: &Blocks<'_>,
    resumable: &Resumable<'_>,
    observe: &mut dyn FnMut(&Step<'_>) -> Wish,
) -> Result<AttackResult, LabError> {
    let mut done = match resumable.resume_from {
        Some(path) => Saved::read(path, resumable.task, blocks)?,
        None => Saved { task: resumable.task, blocks: 0, result: None },
    };
    observe(&Step::Examples(done.examples()));
    let (mut files, mut saved_at) = (Vec::new(), Instant::now());
    while !done.suffices(blocks) {
        let attacked = blocks.attack(done.blocks as usize, &mut |examples| observe(&Step::Examples(examples)));
        let evaluated = match attacked {
            Err(LabError::Interrupted) if done.blocks > 0 => {
                let path = done.write(resumable.output_dir, &mut files)?;
                observe(&Step::Checkpoint(&path, done.blocks));
                return Err(LabError::Stopped { path });
            }
            attacked => attacked?,
        };
        done.add(evaluated.result);
        let wish = observe(&Step::Block);
        let more = !done.suffices(blocks);
        if more && (wish != Wish::GoOn || saved_at.elapsed() >= resumable.checkpoint_interval) {
            let path = done.write(resumable.output_dir, &mut files)?;
            saved_at = Instant::now();
            observe(&Step::Checkpoint(&path, done.blocks));
            if wish == Wish::Stop {
                return Err(LabError::Stopped { path });
            }
        }
    }
    done.result.ok_or_else(|| LabError::Defect("an evaluation of no blocks".to_owned()))
}

impl Saved {
    fn examples(&self) -> usize {
        self.result.as_ref().map_or(0, |result| result.outcomes.examples())
    }

    fn suffices(&self, blocks: &Blocks<'_>) -> bool {
        blocks.suffice(self.blocks as usize, self.result.as_ref())
    }

    fn add(&mut self, next: AttackResult) {
        match &mut self.result {
            Some(result) => result.append(next),
            None => self.result = Some(next),
        }
        self.blocks += 1;
    }

    /// Writes it, and removes those before the last two: the newest may still be on its way elsewhere.
    fn write(&self, folder: &Path, files: &mut Vec<PathBuf>) -> Result<PathBuf, LabError> {
        let path = folder.join(format!("resume-{:06}.json", self.blocks));
        let content = serde_json::to_vec(self).map_err(|error| LabError::Defect(error.to_string()))?;
        write_whole(&path, &content).map_err(|source| LabError::Io { path: path.clone(), source })?;
        files.push(path.clone());
        if files.len() > 2 {
            // A file that somebody moved away already is no loss.
            let _ignored = fs::remove_file(files.remove(0));
        }
        Ok(path)
    }

    fn read(path: &Path, task: TaskId, blocks: &Blocks<'_>) -> Result<Self, LabError> {
        let refuse = |problem: String| LabError::Resume { path: path.to_owned(), problem };
        let content = fs::read(path).map_err(|source| LabError::Io { path: path.to_owned(), source })?;
        let saved: Self = serde_json::from_slice(&content).map_err(|error| refuse(error.to_string()))?;
        if saved.task != task {
            return Err(refuse(format!("it belongs to task {}, not to {task}", saved.task)));
        }
        let (found, expected) = (saved.examples(), blocks.examples_before(saved.blocks as usize));
        if found != expected {
            return Err(refuse(format!("{} blocks hold {expected} examples, and it has {found}", saved.blocks)));
        }
        if let Some(result) = &saved.result {
            result.outcomes.check(expected).map_err(|problem| refuse(problem.to_string()))?;
        }
        Ok(saved)
    }
}
