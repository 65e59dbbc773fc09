//! Some classes of a data set, and some examples of each, in every format.

use gauntlet_data::{Images, Places, load};
use gauntlet_domain::Digest;
use gauntlet_domain::experiment::{
    CifarVariant, DatasetSource, DatasetSpec, Fit, GlyphOptions, IdxVariant, Split, Subset,
};

use crate::support::{Folder, data_dir, idx, message, places, safetensors, spec};

const LABELS: [u8; 9] = [3, 0, 2, 0, 3, 1, 3, 0, 2];

fn subset(classes: &[u32], per_class: Option<u32>) -> Subset {
    Subset { classes: (!classes.is_empty()).then(|| classes.to_vec()), per_class }
}

/// Nine examples; every pixel of one is its number.
fn idx_files(folder: &Folder) -> (Places, DatasetSource) {
    let pixels: Vec<u8> = (0..9).flat_map(|index| [index; 4]).collect();
    let paths = [folder.file("images", &idx(&[9, 2, 2], &pixels)), folder.file("labels", &idx(&[9], &LABELS))];
    let (places, digests) = places(&paths.each_ref().map(AsRef::as_ref));
    (places, DatasetSource::Idx { images: digests[0], labels: digests[1], variant: IdxVariant::Mnist })
}

fn small(source: DatasetSource, examples: u32, classes: u32, subset: Subset) -> DatasetSpec {
    DatasetSpec { subset, ..spec(source, examples, classes, [1, 2, 2], Fit::Resize) }
}

/// Numbers of the examples in the file, and their labels.
fn found(images: &Images, image_bytes: usize) -> (Vec<u8>, Vec<u32>) {
    (images.pixels.iter().step_by(image_bytes).copied().collect(), images.labels.clone())
}

#[test]
fn only_the_kept_classes_are_loaded_with_new_labels_in_the_given_order() {
    let folder = Folder::new();
    let (places, source) = idx_files(&folder);
    let images = load(&small(source.clone(), 5, 2, subset(&[2, 3], None)), &places).unwrap();
    assert_eq!(found(&images, 4), (vec![0, 2, 4, 6, 8], vec![1, 0, 1, 1, 0]));
    let images = load(&small(source.clone(), 2, 2, subset(&[2, 3], None)), &places).unwrap();
    assert_eq!(found(&images, 4), (vec![0, 2], vec![1, 0]));
    assert_eq!(
        message(load(&small(source, 6, 2, subset(&[2, 3], None)), &places)),
        "`labels`: holds 5 examples, and 6 are wanted"
    );
}

#[test]
fn the_first_of_each_class_are_loaded() {
    let folder = Folder::new();
    let (places, source) = idx_files(&folder);
    let images = load(&small(source.clone(), 4, 4, subset(&[], Some(1))), &places).unwrap();
    assert_eq!(found(&images, 4), (vec![0, 1, 2, 5], vec![3, 0, 2, 1]));
    let images = load(&small(source, 4, 2, subset(&[0, 3], Some(2))), &places).unwrap();
    assert_eq!(found(&images, 4), (vec![0, 1, 3, 4], vec![1, 0, 0, 1]));
}

#[test]
fn tensors_and_cifar_files_have_subsets_too() {
    let folder = Folder::new();
    let header = r#"{"images":{"dtype":"U8","shape":[3,1,2,2],"data_offsets":[0,12]},"labels":{"dtype":"I64","shape":[3],"data_offsets":[12,36]}}"#;
    let pixels = (0..3_u8).flat_map(|index| [index; 4]);
    let data: Vec<u8> = pixels.chain([5_i64, 0, 9].iter().flat_map(|label| label.to_le_bytes())).collect();
    let record = |label: u8, pixel: u8| [vec![label], vec![pixel; 3072]].concat();
    let paths = [
        folder.file("tensors", &safetensors(header, &data)),
        folder.file("1", &[record(3, 10), record(9, 20)].concat()),
        folder.file("2", &[record(0, 30), record(9, 40)].concat()),
    ];
    let (places, digests) = places(&paths.each_ref().map(AsRef::as_ref));

    let tensors = DatasetSource::SafeTensors { file: digests[0] };
    let images = load(&small(tensors, 2, 2, subset(&[9, 5], None)), &places).unwrap();
    assert_eq!(found(&images, 4), (vec![0, 2], vec![1, 0]));

    let cifar = DatasetSource::Cifar { files: digests[1..].to_vec(), variant: CifarVariant::Cifar10 };
    let wanted = DatasetSpec { subset: subset(&[0, 9], Some(1)), ..spec(cifar, 2, 2, [3, 32, 32], Fit::Resize) };
    assert_eq!(found(&load(&wanted, &places).unwrap(), 3072), (vec![20, 30], vec![1, 0]));
}

fn glyphs() -> DatasetSource {
    DatasetSource::Glyphs(GlyphOptions {
        split: Split::Test,
        fonts: gauntlet_data::glyphs::fonts_digest(),
        generator: gauntlet_data::glyphs::GENERATOR,
        seed: 0,
        rotation_degrees: 15.0,
        min_size: 0.5,
        max_size: 0.78,
        shift: 0.0625,
        noise: 0.05,
        cue: None,
    })
}

#[test]
fn kept_letters_are_the_same_images_as_among_all_letters() {
    let places = Places { data_dir: data_dir(), ..Places::default() };
    let wanted = |examples, classes, subset| DatasetSpec {
        subset,
        ..spec(glyphs(), examples, classes, [1, 32, 32], Fit::Resize)
    };
    let all = load(&wanted(52, 26, Subset::default()), &places).unwrap();
    let some = load(&wanted(4, 2, subset(&[25, 3], None)), &places).unwrap();
    assert_eq!(some.labels, [1, 0, 1, 0]);
    let image = |images: &Images, index: usize| Digest::of(&images.pixels[index * 1024..][..1024]);
    assert_eq!([0, 1, 2, 3].map(|index| image(&some, index)), [3, 25, 29, 51].map(|index| image(&all, index)));
    let first = load(&wanted(26, 26, subset(&[], Some(1))), &places).unwrap();
    assert_eq!(first.pixels[..], all.pixels[..26 * 1024]);
    assert_eq!(
        message(load(&wanted(27, 26, subset(&[], Some(1))), &places)),
        "glyphs: 27 examples are wanted, and 26 are kept"
    );
}
