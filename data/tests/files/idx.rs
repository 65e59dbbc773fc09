//! IDX files.

use std::path::Path;

use gauntlet_data::{DataError, Images, load};
use gauntlet_domain::experiment::{DatasetSource, Fit, IdxVariant};
use gauntlet_domain::sweep::FileContent;
use gauntlet_domain::sweep::FileRole::{IdxImages, IdxLabels};
use proptest::prelude::*;

use crate::support::{Folder, data_dir, gzip, idx, inspected, message, places, spec};

fn images() -> Vec<u8> {
    idx(&[3, 2, 4], &(0..24).collect::<Vec<u8>>())
}

fn load_pair(images: &[u8], labels: &[u8], examples: u32, shape: [u32; 3], fit: Fit) -> Result<Images, DataError> {
    let folder = Folder::new();
    let paths = [folder.file("images", images), folder.file("labels", labels)];
    let (places, digests) = places(&paths.each_ref().map(AsRef::as_ref));
    load(
        &spec(
            DatasetSource::Idx { images: digests[0], labels: digests[1], variant: IdxVariant::Mnist },
            examples,
            3,
            shape,
            fit,
        ),
        &places,
    )
}

#[test]
fn plain_and_gzipped_files_are_told_apart_by_their_content() {
    let expected = FileContent::IdxImages { examples: 3, height: 2, width: 4 };
    assert_eq!(inspected(IdxImages, &images()).unwrap(), expected);
    assert_eq!(inspected(IdxImages, &gzip(&images())).unwrap(), expected);
    let labels = idx(&[4], &[0, 9, 3, 2]);
    assert_eq!(
        inspected(IdxLabels, &labels).unwrap(),
        FileContent::IdxLabels { examples: 4, max_label: 9, per_class: vec![1, 0, 1, 1, 0, 0, 0, 0, 0, 1] }
    );
}

#[test]
fn the_first_examples_of_a_split_are_loaded_as_they_are() {
    for compress in [<[u8]>::to_vec, gzip] {
        let loaded =
            load_pair(&compress(&images()), &compress(&idx(&[3], &[2, 0, 1])), 2, [1, 2, 4], Fit::Pad).unwrap();
        assert_eq!((loaded.pixels.as_slice(), loaded.labels.as_slice()), (&images()[16..32], &[2, 0][..]));
        assert_eq!(loaded.examples(), 2);
    }
}

#[test]
fn padding_puts_a_black_border_around_and_grey_is_repeated_as_rgb() {
    let loaded = load_pair(&images(), &idx(&[3], &[2, 0, 1]), 2, [3, 3, 6], Fit::Pad).unwrap();
    let plane = |first: u8| {
        let row = |first: u8| [0, first, first + 1, first + 2, first + 3, 0];
        [row(first), row(first + 4), [0; 6]].concat()
    };
    let expected = [plane(0), plane(0), plane(0), plane(8), plane(8), plane(8)].concat();
    assert_eq!(loaded.pixels, expected);
}

#[test]
fn what_does_not_fit_the_spec_is_refused() {
    let labels = idx(&[3], &[2, 0, 1]);
    let pair = |labels: &[u8], examples, shape, fit| message(load_pair(&images(), labels, examples, shape, fit));
    assert_eq!(pair(&labels, 4, [1, 2, 4], Fit::Pad), "`images`: holds 3 examples, and 4 are wanted");
    assert_eq!(pair(&idx(&[2], &[0, 1]), 2, [1, 2, 4], Fit::Pad), "`labels`: holds 2 labels for 3 images");
    assert_eq!(
        pair(&idx(&[3], &[0, 3, 1]), 3, [1, 2, 4], Fit::Pad),
        "`labels`: label 3 at index 1, with 3 classes: expected 0 to 2"
    );
    assert_eq!(
        pair(&labels, 3, [1, 2, 3], Fit::Pad),
        "`images`: its images of 2×4 do not fit into 2×3: `pad` only enlarges; `resize` also shrinks"
    );
    assert!(
        load_pair(&images(), &idx(&[3], &[0, 1, 9]), 2, [1, 2, 4], Fit::Pad).is_ok(),
        "a label beyond the first two"
    );
}

#[test]
fn a_wrong_magic_number_is_shown_with_the_right_one() {
    assert_eq!(
        message(inspected(IdxImages, &idx(&[4], &[0; 4]))),
        "`file`: starts with the bytes 00 00 08 01; a file of IDX images starts with 00 00 08 03 (u8, 3 dimensions)"
    );
    assert_eq!(
        message(inspected(IdxLabels, b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00")),
        "`file`: starts with the bytes 00 00 0d 01; a file of IDX labels starts with 00 00 08 01 (u8, 1 dimensions)"
    );
    assert_eq!(
        message(inspected(IdxImages, b"not an idx file")),
        "`file`: starts with the bytes 6e 6f 74 20; a file of IDX images starts with 00 00 08 03 (u8, 3 dimensions)"
    );
}

#[test]
fn a_truncated_file_is_refused_with_what_is_missing() {
    let expected = "`file`: cut short: the header says 3×2×4, which are 24 bytes, and only 23 follow";
    assert_eq!(message(inspected(IdxImages, &images()[..39])), expected);
    assert_eq!(message(inspected(IdxImages, &gzip(&images()[..39]))), expected);
    assert_eq!(
        message(inspected(IdxImages, &images()[..10])),
        "`file`: cut short: 10 bytes where the header of IDX images alone takes 16"
    );
    assert_eq!(
        message(inspected(IdxLabels, b"")),
        "`file`: cut short: 0 bytes where the header of IDX labels alone takes 8"
    );
    assert_eq!(
        message(load_pair(&images()[..39], &idx(&[3], &[0; 3]), 1, [1, 2, 4], Fit::Pad)),
        expected.replace("file", "images")
    );
}

#[test]
fn a_gzip_stream_that_ends_in_the_middle_is_refused() {
    let noise: Vec<u8> = (0..30_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let whole = gzip(&idx(&[30, 25, 40], &noise));
    let found = message(inspected(IdxImages, &whole[..whole.len() / 2]));
    assert!(
        found.starts_with("`file`: cut short: the header says 30×25×40, which are 30000 bytes, and only "),
        "{found}"
    );
    let no_checksum = message(inspected(IdxImages, &whole[..whole.len() - 8]));
    assert!(no_checksum.starts_with("`file`: its gzip compression is damaged: "), "{no_checksum}");
}

#[test]
fn a_gzip_stream_with_a_wrong_checksum_is_refused() {
    let mut bytes = gzip(&images());
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    assert_eq!(
        message(inspected(IdxImages, &bytes)),
        "`file`: its gzip compression is damaged: corrupt gzip stream does not have a matching checksum"
    );
}

#[test]
fn data_behind_the_last_value_are_refused() {
    let long = [images(), vec![0]].concat();
    let expected = "`file`: too long: the header says 3×2×4, which are 24 bytes, and more follow";
    assert_eq!(message(inspected(IdxImages, &long)), expected);
    assert_eq!(message(inspected(IdxImages, &gzip(&long))), expected);
    let garbage = [gzip(&images()), b"garbage, longer than a gzip header".to_vec()].concat();
    assert_eq!(message(inspected(IdxImages, &garbage)), "`file`: its gzip compression is damaged: invalid gzip header");
}

#[test]
fn a_gzip_bomb_is_decoded_no_further_than_its_header_says() {
    let bomb = gzip(&[idx(&[1, 2, 2], &[]), vec![0; 100_000_000]].concat());
    let before = std::time::Instant::now();
    assert_eq!(
        message(inspected(IdxImages, &bomb)),
        "`file`: too long: the header says 1×2×2, which are 4 bytes, and more follow"
    );
    assert!(before.elapsed().as_secs() < 5);
}

#[test]
fn claims_of_the_header_take_no_memory() {
    let huge = [u32::MAX, u32::MAX, u32::MAX];
    assert_eq!(
        message(inspected(IdxImages, &idx(&huge, &[]))),
        "`file`: its header claims 4294967295×4294967295×4294967295 values, more than any file holds"
    );
    assert_eq!(
        message(load_pair(&idx(&[u32::MAX, 60_000, 60_000], &[7; 9]), &idx(&[3], &[0; 3]), 2, [1, 2, 4], Fit::Pad)),
        "`images`: cut short: the header says 4294967295×60000×60000, which are 15461882262000000000 bytes, and only 9 follow"
    );
    assert_eq!(
        message(inspected(IdxImages, &idx(&[0, 28, 28], &[]))),
        "`file`: holds no images: its header says 0×28×28"
    );
    assert_eq!(message(inspected(IdxLabels, &idx(&[0], &[]))), "`file`: holds no labels: its header says 0");
}

#[test]
fn fashion_mnist_has_ten_classes_of_six_thousand_images() {
    let path = |name: &str| data_dir().join("fashion-mnist").join(name);
    let files = [path("train-images-idx3-ubyte.gz"), path("train-labels-idx1-ubyte.gz")];
    for file in &files {
        assert!(file.is_file(), "{} is missing: run make setup", file.display());
    }
    let (places, digests) = places(&files.each_ref().map(|path| path.as_ref() as &Path));
    let source = DatasetSource::Idx { images: digests[0], labels: digests[1], variant: IdxVariant::Mnist };
    let loaded = load(&spec(source, 60_000, 10, [1, 28, 28], Fit::Pad), &places).unwrap();
    let mut counts = [0; 10];
    loaded.labels.iter().for_each(|label| counts[*label as usize] += 1);
    assert_eq!(counts, [6_000; 10]);
    assert_eq!(loaded.pixels.len(), 60_000 * 28 * 28);
    let mean =
        loaded.pixels.iter().map(|pixel| u64::from(*pixel)).sum::<u64>() as f64 / loaded.pixels.len() as f64 / 255.0;
    assert!((mean - 0.2860).abs() < 1e-4, "the mean that everybody normalises by, found {mean}");
}

proptest! {
    #[test]
    fn what_is_written_as_idx_is_read_back(
        (count, height, width) in (1_u32..6, 1_u32..6, 1_u32..6),
        seed in any::<u8>(),
        compress in any::<bool>(),
    ) {
        let pixels: Vec<u8> = (0..count * height * width).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
        let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
        let (mut images, mut label_file) = (idx(&[count, height, width], &pixels), idx(&[count], &labels));
        if compress {
            (images, label_file) = (gzip(&images), gzip(&label_file));
        }
        let loaded = load_pair(&images, &label_file, count, [1, height, width], Fit::Pad).unwrap();
        prop_assert_eq!(loaded.pixels, pixels);
        prop_assert_eq!(loaded.labels, labels.into_iter().map(u32::from).collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_the_idx_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), prefix in 0_usize..3) {
        let prefix: &[u8] = [&b""[..], b"\0\0\x08\x03", b"\x1f\x8b\x08\0"][prefix];
        let bytes = [prefix, &bytes].concat();
        let _ = inspected(IdxImages, &bytes);
        let _ = inspected(IdxLabels, &bytes);
    }
}
