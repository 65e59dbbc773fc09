//! The files of a `[[dataset]]`: the user's, and those of the catalogue.

use std::ops::Bound;

use super::dataset::{require_a_split, swap};
use crate::catalogue::{CatalogueSource, DatasetEntry, defaults};
use crate::experiment::{CifarVariant, Fit, Split};
use crate::sweep::FilePlace;
use crate::sweep::field::{Field, NumberRange};
use crate::sweep::place::{Located, Place};
use crate::sweep::sections::{FolderFiles, HeldOut, IdxFiles, Origin};
use crate::sweep::table::Table;

/// Keys of `format = "folder"` alone.
pub(super) const FOLDER_KEYS: [&str; 2] = ["root", "split"];
/// Keys of `format = "cifar"` alone.
pub(super) const CIFAR_KEYS: [&str; 1] = ["variant"];
const LARGEST_RESIZE: u32 = 4096;

/// A path relative to the sweep file.
pub(super) fn path(field: &Field<'_>) -> Option<Located<FilePlace>> {
    let text = field.text("a path")?;
    if text.is_empty() || text.contains('\0') {
        return field.expected("a path");
    }
    Some(field.located(FilePlace::Sweep(text.to_owned())))
}

/// `{ images = "…", labels = "…" }`.
pub(super) fn idx_files(field: &Field<'_>) -> Option<IdxFiles> {
    let example = "{ images = \"…\", labels = \"…\" }";
    let mut table = field.table(example)?;
    let [images, labels] = ["images", "labels"].map(|key| table.required(key, example).and_then(|field| path(&field)));
    table.finish();
    Some(IdxFiles { images: images?, labels: labels? })
}

/// `train` and `test`, each one file or a list.
pub(super) fn cifar(table: &mut Table<'_>) -> Option<Origin> {
    let [train, test] = ["train", "test"].map(|key| table.field(key).map(|field| paths(&field)));
    require_a_split(table, train.is_some() || test.is_some());
    let variants = [("cifar10", CifarVariant::Cifar10), ("cifar100", CifarVariant::Cifar100)];
    let variant = table.required("variant", "variant = \"cifar10\" or variant = \"cifar100\"");
    let variant = variant.and_then(|field| field.one_of("variant", &variants));
    let [train, test] = [swap(train)?, swap(test)?].map(Option::unwrap_or_default);
    Some(Origin::Cifar { train, test, variant: variant? })
}

fn paths(field: &Field<'_>) -> Option<Vec<Located<FilePlace>>> {
    field.list_or_one("a path or a list of paths")?.iter().map(path).collect()
}

/// `root`, with or without `split`, or `train` and `test`.
pub(super) fn folder(table: &mut Table<'_>) -> Option<Origin> {
    let [root, train, test] = ["root", "train", "test"].map(|key| table.field(key).map(|field| path(&field)));
    let share = table.field("split").map(|field| split(&field));
    if root.is_none() {
        require_a_split(table, train.is_some() || test.is_some());
        table.refuse(&["split"], "splits the folder `root`, which is not given");
        let (train, test) = (swap(train)?, swap(test)?);
        return Some(Origin::Folder(FolderFiles::Splits { train, test, or_val: false }));
    }
    table.refuse(&["train", "test"], "stands in place of `root`, which is given too");
    let root = swap(root)??;
    match swap(share)? {
        Some((test_share, seed)) => {
            Some(Origin::Folder(FolderFiles::HeldOut(HeldOut { folder: root, test_share, seed })))
        }
        None => Some(Origin::Folder(below(&root))),
    }
}

/// `train` and `test` (or `val`) below a folder.
fn below(root: &Located<FilePlace>) -> FolderFiles {
    let part = |name: &str| {
        let value = match &root.value {
            FilePlace::Sweep(path) => FilePlace::Sweep(format!("{path}/{name}")),
            FilePlace::Data(path) => FilePlace::Data(format!("{path}/{name}")),
        };
        Some(Located { value, at: root.at.clone() })
    };
    FolderFiles::Splits { train: part("train"), test: part("test"), or_val: true }
}

fn split(field: &Field<'_>) -> Option<(f64, u64)> {
    let example = "{ test_share = 0.3, seed = 0 }";
    let mut table = field.table(example)?;
    let share = NumberRange::of((Bound::Excluded(0.0), Bound::Excluded(1.0)));
    let test_share = table.required("test_share", example).and_then(|field| field.number(&share));
    let seed = table.field("seed").map(|field| field.integer(0, i64::MAX));
    table.finish();
    Some((test_share?, swap(seed)?.map_or(defaults::SPLIT_SEED, i64::unsigned_abs)))
}

/// How image files come to `image_size`, which they must be told.
pub(super) fn folder_fit(table: &mut Table<'_>, image_size: Option<&Located<u32>>) -> Option<Fit> {
    #[derive(Clone, Copy)]
    enum Way {
        Crop,
        Resize,
        Pad,
    }
    let ways = [("crop", Way::Crop), ("resize", Way::Resize), ("pad", Way::Pad)];
    let way = table.one_of("fit", Way::Crop, "fit", &ways);
    let resize = table.field("resize");
    let Some(size) = image_size else {
        if table.peek("image_size").is_none() {
            table.required("image_size", "image files have many sizes; image_size = 224 is usual");
        }
        return None;
    };
    match (way, resize) {
        (Way::Crop, None) => Some(usual_crop(size.value)),
        (Way::Crop, Some(field)) => field.count(size.value, LARGEST_RESIZE).map(|resize| Fit::Crop { resize }),
        (Way::Resize | Way::Pad, Some(_)) => {
            table.refuse(&["resize"], "belongs to fit = \"crop\"");
            None
        }
        (Way::Resize, None) => Some(Fit::Resize),
        (Way::Pad, None) => Some(Fit::Pad),
    }
}

/// torchvision's proportion: 256 for 224.
pub(super) fn usual_crop(image_size: u32) -> Fit {
    const OF: u32 = defaults::FOLDER_IMAGE_SIZE;
    Fit::Crop { resize: (image_size * defaults::FOLDER_RESIZE + OF / 2) / OF }
}

/// The files of the catalogue; none where the images are drawn.
pub(super) fn catalogue_origin(entry: &DatasetEntry, at: &Place) -> Option<Origin> {
    let place = |path: &str| Located { value: FilePlace::Data(path.to_owned()), at: at.clone() };
    match &entry.source {
        CatalogueSource::Drawn => None,
        CatalogueSource::Idx { splits, variant } => {
            let files = |split: Split| {
                let files = splits.iter().find(|files| files.split == split)?;
                Some(IdxFiles { images: place(&files.images.path), labels: place(&files.labels.path) })
            };
            Some(Origin::Idx { train: files(Split::Train), test: files(Split::Test), variant: *variant })
        }
        CatalogueSource::Cifar { train, test, variant } => Some(Origin::Cifar {
            train: train.iter().map(|path| place(path)).collect(),
            test: vec![place(test)],
            variant: *variant,
        }),
        CatalogueSource::Folder { path, test_percent: None } => Some(Origin::Folder(below(&place(path)))),
        CatalogueSource::Folder { path, test_percent: Some(percent) } => {
            let test_share = f64::from(*percent) / 100.0;
            let held_out = HeldOut { folder: place(path), test_share, seed: defaults::SPLIT_SEED };
            Some(Origin::Folder(FolderFiles::HeldOut(held_out)))
        }
    }
}
