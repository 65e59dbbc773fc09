//! The classes of a data set that are kept, and how many examples are left.

use super::datasets::{RawSplit, Resolver};
use crate::experiment::{DatasetSource, Subset};
use crate::sweep::{FilePlace, FolderFiles, KeptClass, KeptClasses, Located, Origin, counted, grouped};

impl Resolver<'_> {
    /// The labels of the classes that are kept, in their order; all if none.
    pub(super) fn kept(&mut self, classes: u32) -> Option<Option<Vec<u32>>> {
        let Some(kept) = &self.section.keep_classes else { return Some(None) };
        match &kept.value {
            KeptClasses::First(count) if *count <= classes => Some(Some((0..*count).collect())),
            KeptClasses::First(count) => {
                let message = format!("`{}` has {classes} classes, fewer than {count}", self.section.name);
                self.mistakes.push(kept.at.mistake(message));
                None
            }
            KeptClasses::Listed(listed) => self.listed(listed, classes).map(Some),
        }
    }

    fn listed(&mut self, listed: &[Located<KeptClass>], classes: u32) -> Option<Vec<u32>> {
        let mut labels = Vec::new();
        for class in listed {
            let label = match &class.value {
                KeptClass::Label(label) if *label < classes => Some(*label),
                KeptClass::Label(_) => None,
                KeptClass::Name(name) => self.label_of(name),
            };
            let written = match &class.value {
                KeptClass::Label(label) => label.to_string(),
                KeptClass::Name(name) => format!("`{name}`"),
            };
            match label {
                Some(label) if labels.contains(&label) => {
                    self.mistakes.push(class.at.mistake(format!("the class {written} is listed twice")));
                    return None;
                }
                Some(label) => labels.push(label),
                None => {
                    let message = format!("`{}` has no class {written}", self.section.name);
                    let help = format!("it has {classes} classes, 0 to {}", classes - 1);
                    self.mistakes.push(class.at.mistake(message).with_help(help));
                    return None;
                }
            }
        }
        Some(labels)
    }

    /// The number of a folder of images among those of its data set, which are the same in both splits.
    fn label_of(&mut self, name: &str) -> Option<u32> {
        let section = self.section;
        let Origin::Folder(files) = &section.origin else { return None };
        let folders: Vec<&Located<FilePlace>> = match files {
            FolderFiles::HeldOut(held_out) => vec![&held_out.folder],
            FolderFiles::Splits { train, test, .. } => train.iter().chain(test).collect(),
        };
        let folder = folders.into_iter().find(|folder| self.known(folder))?;
        let classes = self.folder(folder)?.1;
        classes.iter().position(|class| class.name == name).map(|label| label as u32)
    }

    /// How many examples of a split its subset leaves.
    pub(super) fn left(
        &mut self,
        raw: &RawSplit,
        subset: &Subset,
        (what, per_class, classes): (&str, Option<&Located<u32>>, u32),
    ) -> Option<u32> {
        if subset.is_all() {
            return Some(raw.examples);
        }
        let section = self.section;
        let of_all = raw.of_each.iter().copied().fold(0, u32::saturating_add);
        if of_all != raw.examples && !matches!(raw.source, DatasetSource::Glyphs(_)) {
            let message =
                format!("how many examples of each class the {what} split of `{}` has is unknown", section.name);
            self.mistakes.push(section.at.mistake(message));
            return None;
        }
        let held = subset.held(&raw.of_each, classes);
        if let Some(wanted) = per_class {
            let short = held.iter().enumerate().find(|(_, held)| **held < wanted.value);
            if let Some((label, held)) = short {
                let label = subset.classes.as_ref().map_or(label as u32, |kept| kept[label]);
                let (has, wants) = (counted(*held, "example"), grouped(wanted.value));
                let name = &section.name;
                let message = format!("the {what} split of `{name}` has {has} of class {label}, fewer than {wants}");
                self.mistakes.push(wanted.at.mistake(message));
                return None;
            }
            return Some(wanted.value.saturating_mul(held.len() as u32));
        }
        Some(held.into_iter().fold(0, u32::saturating_add))
    }
}
