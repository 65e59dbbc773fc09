//! Splits that another task made: read as they are, and refused where they cannot be images.

use gauntlet_data::{ConstructedImages, DataError, Places, load, load_constructed};
use gauntlet_domain::experiment::{DatasetSource, Fit};
use gauntlet_domain::{Digest, TaskId};

use crate::support::{Folder, message, safetensors, spec};

const HEADER: &str = r#"{"images":{"dtype":"F32","shape":[2,1,1,2],"data_offsets":[0,16]},"labels":{"dtype":"I64","shape":[2],"data_offsets":[16,32]}}"#;

fn task() -> TaskId {
    TaskId::from_digest(Digest::of(b"construction"))
}

/// What is made of a file of two grey images of 1×2, of which this many of these classes are wanted.
fn loaded([header, pixels, labels]: [&str; 3], examples: u32, classes: u32) -> Result<ConstructedImages, DataError> {
    let floats = pixels.split(' ').flat_map(|pixel| pixel.parse::<f32>().unwrap().to_le_bytes());
    let labels = labels.split(' ').flat_map(|label| label.parse::<i64>().unwrap().to_le_bytes());
    let folder = Folder::new();
    let path = folder.file("made", &safetensors(header, &floats.chain(labels).collect::<Vec<u8>>()));
    let places = Places { task_artifacts: [(task(), path)].into(), ..Places::default() };
    let source = DatasetSource::Constructed { task: task() };
    load_constructed(&spec(source, examples, classes, [1, 1, 2], Fit::Resize), task(), &places)
}

const PIXELS: &str = "0 0.3 1 0.501";

#[test]
fn pixels_between_grey_levels_come_back_to_the_bit() {
    let made = loaded([HEADER, PIXELS, "2 0"], 2, 3).unwrap();
    assert_eq!((made.pixels, made.labels), (vec![0.0, 0.3, 1.0, 0.501], vec![2, 0]));
    let first = loaded([HEADER, PIXELS, "2 0"], 1, 3).unwrap();
    assert_eq!((first.pixels, first.labels), (vec![0.0, 0.3], vec![2]));
}

#[test]
fn what_cannot_be_such_a_split_is_told_with_its_file() {
    let said = |header: &str, pixels, labels, examples| message(loaded([header, pixels, labels], examples, 3));
    assert_eq!(said(HEADER, "0 0.3 1 1.001", "2 0", 2), "`made`: image 1 holds 1.001: pixels are 0 to 1");
    assert_eq!(said(HEADER, "0 NaN 1 0", "2 0", 2), "`made`: image 0 holds NaN: pixels are 0 to 1");
    assert_eq!(said(HEADER, PIXELS, "3 0", 2), "`made`: label 3 at index 0, with 3 classes: expected 0 to 2");
    assert_eq!(said(HEADER, PIXELS, "2 0", 3), "`made`: holds 2 examples, and 3 are wanted");
    let header = |from, to| HEADER.replacen(from, to, 1);
    let refused = |header: String| said(&header, PIXELS, "2 0", 2);
    assert_eq!(refused(header("F32", "I32")), "`made`: `images` has type I32, expected F32");
    let turned = refused(header("[2,1,1,2]", "[2,1,2,1]"));
    assert!(turned.starts_with("`made`: `images` has shape [2, 1, 2, 1]"), "{turned}");
    assert!(refused(header("[2,1,1,2]", "[2,1,1,3]")).starts_with("`made`: "));
    assert!(refused(header("[0,16]", "[0,1600]")).starts_with("`made`: "));
}

#[test]
fn what_no_task_has_made_yet_is_not_at_hand_and_no_split_of_whole_grey_levels() {
    let wanted = spec(DatasetSource::Constructed { task: task() }, 2, 3, [1, 1, 2], Fit::Resize);
    let missing = load_constructed(&wanted, task(), &Places::default()).unwrap_err().to_string();
    assert_eq!(missing, format!("what task {} made is not at hand", task()));
    let levels = load(&wanted, &Places::default()).unwrap_err().to_string();
    assert_eq!(levels, format!("the images that task {} made lie between grey levels", task()));
}
