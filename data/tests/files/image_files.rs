//! JPEG and PNG files: what Pillow and torchvision make of them, and damaged ones. See `golden_images.py` beside the values.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use gauntlet_data::{Frame, Size, View};
use gauntlet_domain::experiment::Fit;
use safetensors::SafeTensors;

use crate::image_folders::{Tree, image};
use crate::support::reference;

fn golden() -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(reference("images.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect()
}

/// Mean and largest absolute difference, in grey levels.
fn difference(found: &[u8], golden: &[u8]) -> (f64, u8) {
    assert_eq!(found.len(), golden.len());
    let differences = || found.iter().zip(golden).map(|(found, golden)| found.abs_diff(*golden));
    (differences().map(f64::from).sum::<f64>() / found.len() as f64, differences().max().unwrap_or(0))
}

fn interleaved(planes: &[u8], channels: usize) -> Vec<u8> {
    let pixels = planes.len() / channels;
    (0..pixels).flat_map(|pixel| (0..channels).map(move |channel| planes[channel * pixels + pixel])).collect()
}

/// A view of one of the reference's images, u8 \[C,H,W\].
fn seen(name: &str, channels: u32, side: (u32, u32), fit: Fit, view: View) -> Vec<u8> {
    let tree = Tree::new();
    tree.file(&format!("a/{name}"), &image(name));
    tree.file("b/other.png", &image("rgb.png"));
    let folder = tree.open([channels, side.0, side.1], fit, 2).unwrap();
    let example = folder.labels().position(|label| label == 0).unwrap();
    Tree::view(folder, example, view).unwrap()
}

fn size(name: &str) -> (u32, u32) {
    match name {
        "444.jpg" => (120, 91),
        "rgb.png" => (97, 120),
        "palette.png" | "rgba.png" | "grey.png" | "bits.png" => (30, 40),
        _ => (90, 133),
    }
}

#[test]
fn files_are_decoded_as_pillow_decodes_them() {
    let golden = golden();
    for name in golden.keys().filter_map(|key| key.strip_suffix("/rgb")) {
        // At its own size an image is resampled to itself.
        let colours = interleaved(&seen(name, 3, size(name), Fit::Resize, View::default()), 3);
        let grey = seen(name, 1, size(name), Fit::Resize, View::default());
        // PNG is exact; decoders of JPEG differ in how they round the transform and smooth the colours.
        let (mean, most) = if name.ends_with(".png") { (0.0, 0) } else { (0.5, 12) };
        for (what, found) in [("rgb", colours), ("grey", grey)] {
            let (found_mean, found_most) = difference(&found, &golden[&format!("{name}/{what}")]);
            println!("{name}/{what}: mean {found_mean:.3}, largest {found_most}");
            assert!(found_mean <= mean && found_most <= most, "{name}/{what}: mean {found_mean}, largest {found_most}");
        }
    }
}

#[test]
fn views_are_those_of_torchvision() {
    let golden = golden();
    let side = (48, 48);
    let crop = Fit::Crop { resize: 55 };
    let part = Frame::Part { left: 11, top: 7, size: Size { width: 70, height: 60 } };
    for name in ["420.jpg", "444.jpg", "rgb.png"] {
        let views = [
            ("crop", crop, Frame::Fitted),
            ("squash", Fit::Resize, Frame::Fitted),
            ("part", crop, part),
            ("cut", crop, Frame::Cut { left: 5, top: 3 }),
        ];
        for (what, fit, frame) in views {
            let found = seen(name, 3, side, fit, View { frame, mirror: false });
            let (mean, most) = difference(&found, &golden[&format!("{name}/{what}")]);
            println!("{name}/{what}: mean {mean:.3}, largest {most}");
            assert!(mean <= 0.5 && most <= 8, "{name}/{what}: mean {mean}, largest {most}");
        }
    }
}

#[test]
fn a_mirrored_view_is_the_view_from_right_to_left() {
    let view = |mirror| seen("rgb.png", 3, (40, 48), Fit::Resize, View { frame: Frame::Fitted, mirror });
    let mut rows = view(false);
    rows.chunks_exact_mut(48).for_each(<[u8]>::reverse);
    assert_eq!(view(true), rows);
}

#[test]
fn a_border_surrounds_what_is_smaller_and_what_is_larger_is_shrunk_into_it() {
    let small = seen("grey.png", 1, (34, 50), Fit::Pad, View::default());
    let inner: Vec<u8> = small.chunks_exact(50).skip(2).take(30).flat_map(|row| row[5..45].to_vec()).collect();
    assert_eq!(inner, seen("grey.png", 1, (30, 40), Fit::Resize, View::default()));
    assert_eq!(
        small.iter().map(|pixel| u64::from(*pixel)).sum::<u64>(),
        inner.iter().map(|pixel| u64::from(*pixel)).sum::<u64>()
    );
    let large = seen("420.jpg", 1, (64, 64), Fit::Pad, View::default());
    let black = |row: usize| large[row * 64..][..64].iter().all(|pixel| *pixel == 0);
    // 90 of 133 rows: 43 of 64.
    assert!((0..10).chain(54..64).all(black) && !black(11) && !black(52));
}

#[test]
fn of_16_bits_the_high_byte_is_kept() {
    let found = seen("grey16.png", 1, (6, 8), Fit::Resize, View::default());
    let expected: Vec<u8> = (0..48_u32).map(|index| ((index * 1365) >> 8) as u8).collect();
    assert_eq!(found, expected);
    let rgb16 =
        png(8, 6, png::ColorType::Rgb, png::BitDepth::Sixteen, &(0..=255).cycle().take(288).collect::<Vec<u8>>());
    let tree = Tree::new();
    tree.file("a/deep.png", &rgb16);
    tree.file("b/other.png", &image("rgb.png"));
    let folder = tree.open([3, 6, 8], Fit::Resize, 2).unwrap();
    let example = folder.labels().position(|label| label == 0).unwrap();
    let found = interleaved(&Tree::view(folder, example, View::default()).unwrap(), 3);
    assert_eq!(found, (0..=255).cycle().step_by(2).take(144).collect::<Vec<u8>>());
}

/// A PNG of these values.
pub fn png(width: u32, height: u32, colours: png::ColorType, depth: png::BitDepth, values: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colours);
    encoder.set_depth(depth);
    encoder.write_header().unwrap().write_image_data(values).unwrap();
    bytes
}

/// A PNG whose first chunk claims other sides than the rest has.
fn claiming(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = image("grey.png");
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    bytes
}

/// What is said of a data set with this file in it when it is looked at, or when it is read.
fn said_of(name: &str, bytes: &[u8]) -> String {
    let tree = Tree::new();
    let path: PathBuf = tree.file(&format!("a/{name}"), bytes);
    tree.file("b/other.png", &image("rgb.png"));
    let said = match tree.open([3, 16, 16], Fit::Resize, 2) {
        Err(error) => error.to_string(),
        Ok(folder) => folder.load(2).unwrap_err().to_string(),
    };
    let quoted = format!("`{}` ", path.display());
    said.strip_prefix(&quoted).unwrap_or_else(|| panic!("{said} does not name {quoted}")).to_owned()
}

#[test]
fn a_jpeg_that_is_cut_short_is_refused_wherever_it_was_cut() {
    for name in ["420.jpg", "progressive.jpg"] {
        let whole = image(name);
        for kept in [3, 40, 300, whole.len() / 2, whole.len() - 200, whole.len() - 2] {
            assert_eq!(said_of("x.jpg", &whole[..kept]), "cut short: the end of the image is missing", "{name} {kept}");
        }
    }
}

#[test]
fn a_png_that_is_cut_short_or_damaged_is_refused() {
    let whole = image("rgb.png");
    for kept in [9, 20, 200, whole.len() / 2, whole.len() - 20] {
        let said = said_of("x.png", &whole[..kept]);
        assert!(said.starts_with("cut short") || said.starts_with("cannot be decoded"), "{kept}: {said}");
    }
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 0x55;
    assert!(said_of("x.png", &damaged).starts_with("cannot be decoded: "));
}

#[test]
fn an_image_that_claims_too_many_pixels_is_refused_before_memory_is_taken() {
    assert_eq!(
        said_of("bomb.png", &claiming(60_000, 60_000)),
        "claims 60000×60000 pixels, more than the 67108864 allowed"
    );
    assert_eq!(said_of("bomb.png", &claiming(0, 7)), "its header is broken: an image of 0×7 pixels");
    let mut jpeg = image("420.jpg");
    let frame = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    assert_eq!(said_of("bomb.jpg", &jpeg), "claims 65535×65535 pixels, more than the 67108864 allowed");
}

#[test]
fn name_and_content_must_both_be_those_of_an_image() {
    let text = "is not an image: it starts neither like a JPEG nor like a PNG";
    assert_eq!(said_of("notes.jpg", b"these are notes"), text);
    assert_eq!(said_of("empty.png", b""), text);
    assert_eq!(said_of("movie.gif", b"GIF89a"), "is not an image: the name of one ends in .jpg, .jpeg or .png");
    assert_eq!(said_of("nothing", b""), "is not an image: the name of one ends in .jpg, .jpeg or .png");
}

#[test]
fn the_content_decides_between_jpeg_and_png() {
    let tree = Tree::new();
    tree.file("a/x.JPEG", &image("rgb.png"));
    tree.file("b/y.png", &image("rgb.png"));
    let images = tree.open([3, 16, 16], Fit::Resize, 2).unwrap().load(1).unwrap();
    let (one, other) = images.pixels.split_at(images.pixels.len() / 2);
    assert_eq!(one, other);
}
