//! The files a sweep needs.

use std::collections::HashSet;

use super::place::Located;
use super::sections::{DatasetRef, DatasetSection, FolderFiles, IdxFiles, InitStart, Origin, Sweep};
use super::usage::{SplitUse, Usage};
use super::{FilePlace, FileRequest, FileRole};

impl Sweep {
    /// Every file that must be known to plan the sweep, once, in the order of the sections: what the grid uses and nothing else.
    ///
    /// The labels of a split that the grid does not use are among them where they tell the number of classes; otherwise the same run could have
    /// another number of classes in a sweep that uses the split.
    pub fn files(&self) -> Vec<FileRequest> {
        let usage = Usage::of(self);
        let mut files = Files::default();
        for (section, splits) in self.datasets.iter().zip(&usage.datasets) {
            if splits.train || splits.test {
                files.dataset(section, *splits);
            }
        }
        for (init, _) in self.inits.iter().zip(&usage.inits).filter(|(_, used)| **used) {
            match &init.start {
                InitStart::Scratch => {}
                InitStart::Checkpoint { file, format, .. } => files.file(file, FileRole::Checkpoint(*format)),
                InitStart::Pretrain(pretrain) => {
                    if let DatasetRef::Own(section) = &pretrain.dataset.value {
                        files.dataset(section, SplitUse { train: true, test: false });
                    }
                }
            }
        }
        files.requests
    }
}

#[derive(Default)]
struct Files {
    requests: Vec<FileRequest>,
    seen: HashSet<(FilePlace, FileRole)>,
}

impl Files {
    fn dataset(&mut self, section: &DatasetSection, splits: SplitUse) {
        let labels_needed = section.classes.is_none();
        match &section.origin {
            Origin::Glyphs(_) => {}
            Origin::Idx { train, test, variant: _ } => {
                self.idx(train.as_ref(), splits.train, labels_needed);
                self.idx(test.as_ref(), splits.test, labels_needed);
            }
            Origin::SafeTensors { train, test } => {
                for (file, used) in [(train, splits.train), (test, splits.test)] {
                    if let Some(file) = file.as_ref().filter(|_| used || labels_needed) {
                        self.file(file, FileRole::SafeTensorsDataset);
                    }
                }
            }
            // The format tells the number of classes.
            Origin::Cifar { train, test, variant } => {
                for (files, used) in [(train, splits.train), (test, splits.test)] {
                    for file in files.iter().filter(|_| used) {
                        self.file(file, FileRole::Cifar(*variant));
                    }
                }
            }
            Origin::Folder(FolderFiles::HeldOut(held_out)) => {
                self.file(&held_out.folder, FileRole::ImageFolder { or_val: false });
            }
            Origin::Folder(FolderFiles::Splits { train, test, or_val }) => {
                for (folder, used, or_val) in [(train, splits.train, false), (test, splits.test, *or_val)] {
                    if let Some(folder) = folder.as_ref().filter(|_| used || labels_needed) {
                        self.file(folder, FileRole::ImageFolder { or_val });
                    }
                }
            }
        }
    }

    fn idx(&mut self, files: Option<&IdxFiles>, used: bool, labels_needed: bool) {
        let Some(files) = files else { return };
        if used {
            self.file(&files.images, FileRole::IdxImages);
        }
        if used || labels_needed {
            self.file(&files.labels, FileRole::IdxLabels);
        }
    }

    fn file(&mut self, file: &Located<FilePlace>, role: FileRole) {
        if self.seen.insert((file.value.clone(), role)) {
            self.requests.push(FileRequest { place: file.value.clone(), role, at: file.at.clone() });
        }
    }
}
