//! Where an answer goes.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// stdout, or a file that appears whole or not at all.
pub struct Sink {
    writer: Box<dyn Write + Send>,
    file: Option<(PathBuf, PathBuf)>,
}

impl Sink {
    /// Opens `out`, or stdout.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn open(out: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = out else {
            return Ok(Self { writer: Box::new(BufWriter::new(io::stdout())), file: None });
        };
        let mut name = path.file_name().with_context(|| format!("{} names no file", path.display()))?.to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(name);
        let file = File::create(&partial).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { writer: Box::new(BufWriter::new(file)), file: Some((partial, path.to_owned())) })
    }

    /// Refuses to write bytes to a terminal.
    ///
    /// # Errors
    /// stdout is a terminal.
    pub fn must_take_bytes(&self) -> anyhow::Result<()> {
        let terminal = self.file.is_none() && io::stdout().is_terminal();
        anyhow::ensure!(!terminal, "Parquet is no text: name a file with --out, or redirect stdout");
        Ok(())
    }

    /// Flushes, and gives a file its name.
    ///
    /// # Errors
    /// The disk is full, or the reader of a pipe has left.
    pub fn finish(mut self) -> anyhow::Result<()> {
        self.writer.flush().context("the answer cannot be written")?;
        if let Some((partial, path)) = &self.file {
            std::fs::rename(partial, path).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
