//! Data sets of image files: in memory or decoded as they are needed, with and without random crops.
#![allow(clippy::unwrap_used)] // A test may stop at once.

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use gauntlet_data::{Places, inspect};
use gauntlet_domain::experiment::{
    AttackConfig, AttackMethod, Augmentation, Backbone, DatasetSource, DatasetSpec, Fit, FrequencyBand, ImageShape,
    Length, Norm, Objective, Pass, RandomCrop, Subset,
};
use gauntlet_domain::sweep::FileRole;
use gauntlet_lab::analyses::frequency::{high_pass, low_pass};
use gauntlet_lab::attacks::{Aids, Evaluation, evaluate};
use gauntlet_lab::{Examples, Inputs, Lab, Settings, TaskOutput};
use support::{Bench, Notes, floats, formula_model, squares};
use tch::Device;

const COUNT: usize = 48;

/// Three classes of PNGs: the images of `squares`, each in a frame of its own size.
fn folder(root: &Path) -> (DatasetSpec, Places) {
    let images = squares("files", COUNT);
    for (example, pixels) in images.pixels.chunks_exact(1024).enumerate() {
        let (width, height) = (32 + example as u32 % 5 * 4, 32 + example as u32 % 3 * 6);
        let mut framed = vec![30; (width * height) as usize];
        for (row, line) in pixels.chunks_exact(32).enumerate() {
            framed[row * width as usize..][..32].copy_from_slice(line);
        }
        let path = root.join(format!("class-{}/{example}.png", example % 3));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), width, height);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.write_header().unwrap().write_image_data(&framed).unwrap();
    }
    let manifest = inspect(FileRole::ImageFolder { or_val: false }, root).unwrap().digest;
    let spec = DatasetSpec {
        subset: Subset::default(),
        source: DatasetSource::Folder { manifest, part: None },
        examples: COUNT as u32,
        classes: 3,
        image: ImageShape { channels: 1, height: 32, width: 32 },
        fit: Fit::Crop { resize: 36 },
        frequencies: None,
    };
    (spec, Places { files: BTreeMap::from([(manifest, root.to_owned())]), ..Places::default() })
}

#[test]
fn images_in_files_are_those_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let (spec, places) = folder(root.path());
    let memory = Examples::load(&spec, &places, Device::Cpu).unwrap();
    let files = Examples::load_within(0, &spec, &places, Device::Cpu).unwrap();
    assert!(memory.bytes() >= COUNT * 1024 && files.bytes() < COUNT * 1024);
    assert_eq!(memory.labels().unwrap(), files.labels().unwrap());
    for (one, other) in [
        (memory.range(5, 20).unwrap(), files.range(5, 20).unwrap()),
        (memory.select(&[40, 3, 3]).unwrap(), files.select(&[40, 3, 3]).unwrap()),
    ] {
        assert_eq!(one.labels, other.labels);
        assert_eq!(floats(&one.pixels), floats(&other.pixels));
    }
    let model = formula_model(Backbone::ResNet18W16, 1, 3);
    let attack = AttackConfig {
        method: AttackMethod::Fgsm,
        norm: Norm::Linf,
        eps: Some(0.05),
        target: None,
        early_stop: true,
        stop_at_interval: None,
    };
    let outcomes = |examples: &Examples| {
        let evaluation = Evaluation {
            aids: Aids::default(),
            model: &model,
            examples,
            attack: &attack,
            seed: 0,
            batch_size: 20,
            keep_images: false,
        };
        evaluate(&evaluation, &mut |_| {}).unwrap().result.outcomes
    };
    assert_eq!(outcomes(&memory), outcomes(&files));
}

#[test]
fn a_data_set_of_files_is_learnt_with_and_without_random_crops() {
    let root = tempfile::tempdir().unwrap();
    let bench = Bench::new(4);
    let (dataset, places) = folder(&root.path().join("data"));
    let resized = RandomCrop::Resized { scale: [0.6, 1.0], ratio: [0.9, 1.1] };
    for crop in [None, Some(RandomCrop::Plain), Some(resized)] {
        let mut spec = bench.train_spec(Objective::Standard, Length::Epochs(8));
        spec.dataset = dataset.clone();
        spec.recipe.augmentation = Augmentation { shift: 0, flip: false, crop };
        let run = |name: &str| {
            let output_dir = root.path().join(name);
            std::fs::create_dir_all(&output_dir).unwrap();
            let inputs = Inputs { places: places.clone(), output_dir, ..Inputs::default() };
            let mut notes = Notes::default();
            let task = gauntlet_domain::experiment::TaskSpec::Train(spec.clone());
            let output = Lab::new(Settings::default()).execute(&task, &inputs, &mut notes).unwrap();
            let TaskOutput::Trained { checkpoint } = output else { panic!("not a training") };
            (std::fs::read(checkpoint).unwrap(), notes)
        };
        let (weights, notes) = run("one");
        let losses: Vec<f64> = notes.epochs.iter().map(|epoch| epoch.train_loss).collect();
        assert!(losses[7] < 0.6 * losses[0], "{crop:?}: {losses:?}");
        assert_eq!(weights, run("two").0, "{crop:?}: a second training gave other weights");
    }
}

#[test]
fn every_epoch_sees_other_crops() {
    let root = tempfile::tempdir().unwrap();
    let (spec, places) = folder(root.path());
    let examples = Examples::originals(&spec, &places, Device::Cpu).unwrap();
    let augmentation = Augmentation { shift: 0, flip: true, crop: Some(RandomCrop::Plain) };
    let order: Vec<i64> = (0..COUNT as i64).collect();
    let epoch = |epoch| {
        let changes = gauntlet_lab::training::Changes { augmentation: &augmentation, seed: 3, epoch };
        let mut batches = gauntlet_lab::training::Batches::new(&examples, &order, 8, changes).unwrap();
        let batch = |indices: &[i64]| floats(&batches.next(indices).unwrap().pixels);
        order.chunks_exact(8).flat_map(batch).collect::<Vec<f32>>()
    };
    assert_eq!(epoch(0), epoch(0));
    let (one, other) = (epoch(0), epoch(1));
    let differ = one.chunks_exact(1024).zip(other.chunks_exact(1024)).filter(|(one, other)| one != other).count();
    assert!(differ > COUNT / 2, "{differ}");
}

#[test]
fn a_damaged_file_stops_the_training_with_its_name() {
    let root = tempfile::tempdir().unwrap();
    let (spec, places) = folder(root.path());
    let examples = Examples::originals(&spec, &places, Device::Cpu).unwrap();
    std::fs::write(root.path().join("class-1/1.png"), b"other").unwrap();
    let every: Vec<i64> = (0..COUNT as i64).collect();
    let said = examples.select(&every).unwrap_err().to_string();
    assert!(said.contains("class-1/1.png"), "{said}");
}

#[test]
fn a_data_set_of_some_frequencies_shows_these_alone_in_memory_and_from_files() {
    let root = tempfile::tempdir().unwrap();
    let (whole, places) = folder(root.path());
    let all = Examples::load(&whole, &places, Device::Cpu).unwrap();
    for (keep, part) in [(Pass::Low, low_pass as fn(&_, _) -> _), (Pass::High, high_pass)] {
        let spec = DatasetSpec { frequencies: Some(FrequencyBand { keep, radius: 3.0 }), ..whole.clone() };
        let originals = Examples::originals(&spec, &places, Device::Cpu).unwrap();
        for budget in [0, u64::MAX] {
            let examples = Examples::load_within(budget, &spec, &places, Device::Cpu).unwrap();
            let expected = part(&all.range(5, 20).unwrap().pixels, 3.0).unwrap();
            assert_eq!(floats(&examples.range(5, 20).unwrap().pixels), floats(&expected));
            let expected = part(&all.select(&[40, 3, 3]).unwrap().pixels, 3.0).unwrap();
            let found = examples.select(&[40, 3, 3]).unwrap();
            assert_eq!(floats(&found.pixels), floats(&expected));
            assert_eq!(floats(&originals.select(&[40, 3, 3]).unwrap().pixels), floats(&expected));
            assert_ne!(floats(&found.pixels), floats(&all.select(&[40, 3, 3]).unwrap().pixels));
        }
    }
}
