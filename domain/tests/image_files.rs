//! Data sets of image files and of CIFAR's, from the sweep file to the specs of tasks.

#![allow(clippy::unwrap_used)] // A test may stop at once.

mod common;

use common::{evenly, parse_mistakes, parsed, plan_mistakes, with_file};
use gauntlet_domain::experiment::{
    CifarVariant, DatasetSource, DatasetSpec, Fit, FolderPart, IdxVariant, ImageShape, RandomCrop, Split, TaskSpec,
};
use gauntlet_domain::plan::plan;
use gauntlet_domain::sweep::{Facts, FileContent, FilePlace, FileRole, FolderClass};

/// A sweep on one data set, trained and attacked.
fn sweep(dataset: &str) -> String {
    with_recipe(dataset, "")
}

fn with_recipe(dataset: &str, augment: &str) -> String {
    format!(
        "name = \"x\"\n[[dataset]]\n{dataset}\n[[model]]\nbackbone = \"resnet18\"\n[[init]]\nname = \"scratch\"\n\
         [[recipe]]\nname = \"standard\"\nmethod = \"standard\"\n{augment}\n\
         [[attack]]\nname = \"fgsm\"\nmethod = \"fgsm\"\neps = \"8/255\"\n"
    )
}

fn folder(classes: &[(&str, u32)]) -> FileContent {
    let class = |(name, examples): &(&str, u32)| FolderClass { name: (*name).to_owned(), examples: *examples };
    FileContent::ImageFolder { classes: classes.iter().map(class).collect() }
}

fn splits() -> Facts {
    let facts = with_file(Facts::default(), "pets/train", folder(&[("cat", 70), ("dog", 50)]));
    with_file(facts, "pets/test", folder(&[("cat", 30), ("dog", 20)]))
}

/// The data of the training and of the attack.
fn planned(source: &str, facts: &Facts) -> [DatasetSpec; 2] {
    let plan = plan(&parsed(source), facts).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let dataset = |train| {
        let task = plan.tasks.iter().find(|task| matches!(task.spec, TaskSpec::Train(_)) == train);
        task.unwrap().spec.dataset().clone()
    };
    [dataset(true), dataset(false)]
}

const PETS: &str = "name = \"p\"\nformat = \"folder\"\nroot = \"pets\"\nimage_size = 112";

#[test]
fn a_root_stands_for_its_train_and_test_folders() {
    let [train, test] = planned(&sweep(PETS), &splits());
    assert_eq!((train.examples, train.classes, test.examples), (120, 2, 50));
    assert_eq!(train.image, ImageShape { channels: 3, height: 112, width: 112 });
    assert_eq!(train.fit, Fit::Crop { resize: 128 });
    let digest = |name: &str| gauntlet_domain::Digest::of(name.as_bytes());
    assert_eq!(test.source, DatasetSource::Folder { manifest: digest("pets/test"), part: None });
    let files = parsed(&sweep(PETS)).files();
    let roles: Vec<_> = files.into_iter().map(|file| (file.place, file.role)).collect();
    let place = |name: &str| FilePlace::Sweep(format!("pets/{name}"));
    assert_eq!(
        roles,
        [
            (place("train"), FileRole::ImageFolder { or_val: false }),
            (place("test"), FileRole::ImageFolder { or_val: true })
        ]
    );
    let own = "name = \"p\"\nformat = \"folder\"\ntrain = \"pets/train\"\ntest = \"pets/test\"\nimage_size = 112";
    assert_eq!(planned(&sweep(own), &splits()), [train, test]);
}

#[test]
fn a_seeded_split_gives_both_sides_of_one_folder() {
    let facts = with_file(Facts::default(), "nico", folder(&[("cow", 10), ("rat", 3), ("owl", 2)]));
    let dataset = "name = \"p\"\nformat = \"folder\"\nroot = \"nico\"\nimage_size = 64\nfit = \"pad\"\n\
                   split = { test_share = 0.3, seed = 4 }";
    let [train, test] = planned(&sweep(dataset), &facts);
    assert_eq!((train.examples, test.examples), (7 + 2 + 1, 3 + 1 + 1));
    let part = |split| Some(FolderPart { split, test_share: 0.3, seed: 4 });
    let manifest = gauntlet_domain::Digest::of(b"nico");
    assert_eq!(train.source, DatasetSource::Folder { manifest, part: part(Split::Train) });
    assert_eq!(test.source, DatasetSource::Folder { manifest, part: part(Split::Test) });
}

#[test]
fn sides_of_a_class_are_never_empty_where_there_are_two_files() {
    let part = |split, test_share| FolderPart { split, test_share, seed: 0 };
    for share in [0.001, 0.3, 0.5, 0.999] {
        for of in 2..50 {
            let (train, test) = (part(Split::Train, share).examples(of), part(Split::Test, share).examples(of));
            assert!(train >= 1 && test >= 1 && train + test == of, "{share} of {of}: {train} and {test}");
        }
    }
    assert_eq!(part(Split::Test, 0.3).examples(1) + part(Split::Train, 0.3).examples(1), 1);
}

#[test]
fn a_class_in_one_split_only_is_named() {
    let facts = with_file(splits(), "pets/test", folder(&[("cat", 30), ("eel", 20)]));
    let said = plan_mistakes(&sweep(PETS), &facts);
    assert!(said.contains("the class `dog` is in `pets/train` and not in `pets/test`"), "{said}");
    let facts = with_file(splits(), "pets/test", folder(&[("cat", 30), ("dog", 20), ("eel", 20)]));
    let said = plan_mistakes(&sweep(PETS), &facts);
    assert!(said.contains("the class `eel` is in `pets/test` and not in `pets/train`"), "{said}");
}

#[test]
fn declared_classes_must_be_those_found() {
    let said = plan_mistakes(&sweep(&format!("{PETS}\nclasses = 37")), &splits());
    assert!(said.contains("`p` has 2 classes, and 37 are declared"), "{said}");
    let facts = with_file(with_file(splits(), "pets/test", folder(&[("cat", 3)])), "pets/train", folder(&[("cat", 3)]));
    let said = plan_mistakes(&sweep(PETS), &facts);
    assert!(said.contains("holds 1 folder: a classifier needs 2"), "{said}");
}

#[test]
fn what_does_not_belong_to_image_files_is_said() {
    let folder = "name = \"p\"\nformat = \"folder\"";
    let cases = [
        (format!("{folder}\nroot = \"pets\""), "`image_size` is missing"),
        (format!("{folder}\nimage_size = 64"), "neither `train` nor `test` is given"),
        (format!("{PETS}\ntrain = \"x\""), "`train` stands in place of `root`, which is given too"),
        (
            format!("{folder}\nimage_size = 64\ntrain = \"x\"\nsplit = {{ test_share = 0.5 }}"),
            "`split` splits the folder `root`",
        ),
        (format!("{PETS}\nsplit = {{ test_share = 1 }}"), "expected a number above 0 and below 1, found 1"),
        (format!("{PETS}\nfit = \"resize\"\nresize = 128"), "`resize` belongs to fit = \"crop\""),
        (format!("{PETS}\nresize = 111"), "expected an integer from 112"),
        (format!("{PETS}\nnoise = 0.1"), "`noise` belongs to format = \"glyphs\""),
        ("name = \"glyphs\"\nroot = \"x\"".to_owned(), "`root` belongs to format = \"folder\""),
        ("name = \"glyphs\"\nresize = 40".to_owned(), "`resize` belongs to format = \"folder\" and fit = \"crop\""),
        ("name = \"c\"\nformat = \"cifar\"\ntest = \"x\"".to_owned(), "`variant` is missing"),
    ];
    for (dataset, expected) in cases {
        let said = parse_mistakes(&sweep(&dataset));
        assert!(said.contains(expected), "{dataset}\n{said}");
    }
}

#[test]
fn random_crops_are_for_image_files() {
    let plain = "augment = { crop = true, flip = true }";
    let said =
        plan_mistakes(&with_recipe("name = \"glyphs\"\nchannels = 3\nimage_size = 64", plain), &Facts::default());
    assert!(said.contains("`crop` and `resized_crop` need a data set of image files"), "{said}");
    let said = plan_mistakes(&with_recipe(&format!("{PETS}\nfit = \"pad\""), plain), &splits());
    assert!(said.contains("this data set has another `fit`"), "{said}");
    let sweep = parsed(&with_recipe(PETS, "augment = { resized_crop = { scale = [0.5, 1] }, flip = true }"));
    let crop = sweep.recipes[0].training.as_ref().unwrap().augmentation.crop;
    assert_eq!(crop, Some(RandomCrop::Resized { scale: [0.5, 1.0], ratio: [0.75, 4.0 / 3.0] }));
    for (augment, expected) in [
        ("{ crop = true, resized_crop = {} }", "`crop` and `resized_crop` are both given: say one"),
        ("{ crop = true, shift = 4 }", "`shift` moves what a random crop has moved already"),
        ("{ resized_crop = { scale = [1, 0.5] } }", "expected [smallest, largest]"),
        ("{ resized_crop = { scale = [0, 1] } }", "expected a number above 0 and at most 1"),
        ("{ resized_crop = { ratio = [0.5, 0.6, 0.7] } }", "expected [smallest, largest]"),
    ] {
        let said = parse_mistakes(&with_recipe(PETS, &format!("augment = {augment}")));
        assert!(said.contains(expected), "{augment}\n{said}");
    }
}

#[test]
fn cifars_files_are_one_split_and_its_format_tells_the_classes() {
    let cifar =
        |examples| FileContent::Cifar { examples, variant: CifarVariant::Cifar10, per_class: evenly(examples, 10) };
    let facts = ["1", "2", "t"].into_iter().fold(Facts::default(), |facts, name| with_file(facts, name, cifar(40)));
    let dataset = "name = \"c\"\nformat = \"cifar\"\nvariant = \"cifar10\"\ntrain = [\"1\", \"2\"]\ntest = \"t\"\nimage_size = 64";
    let [train, test] = planned(&sweep(dataset), &facts);
    assert_eq!((train.examples, test.examples, train.classes), (80, 40, 10));
    assert_eq!(train.source.files().len(), 2);
    assert_eq!(train.image, ImageShape { channels: 3, height: 64, width: 64 });
}

#[test]
fn the_catalogue_knows_where_files_go() {
    let files = |name: &str| -> Vec<String> {
        parsed(&sweep(&format!("name = \"{name}\"\nchannels = 3")))
            .files()
            .iter()
            .map(|file| file.place.to_string())
            .collect()
    };
    assert_eq!(files("pets"), ["<data>/pets/train", "<data>/pets/test"]);
    assert_eq!(files("nico"), ["<data>/nico"]);
    assert_eq!(files("cifar100"), ["<data>/cifar-100-binary/train.bin", "<data>/cifar-100-binary/test.bin"]);
    assert_eq!(files("cifar10").len(), 6);
    assert_eq!(files("emnist-letters")[0], "<data>/emnist/emnist-letters-train-images-idx3-ubyte.gz");
}

#[test]
fn letters_that_start_at_one_have_twenty_six_classes() {
    let data = |part: &str, kind: &str| FilePlace::Data(format!("emnist/emnist-letters-{part}-{kind}-ubyte.gz"));
    let mut facts = Facts::default();
    for part in ["train", "test"] {
        for (kind, content) in [
            ("images-idx3", FileContent::IdxImages { examples: 100, height: 28, width: 28 }),
            ("labels-idx1", FileContent::IdxLabels { examples: 100, max_label: 26, per_class: evenly(100, 26 + 1) }),
        ] {
            let digest = gauntlet_domain::Digest::of(kind.as_bytes());
            facts.files.insert(data(part, kind), gauntlet_domain::sweep::FileFacts { digest, content });
        }
    }
    let [train, _] = planned(&sweep("name = \"emnist-letters\"\nimage_size = 64\nchannels = 3"), &facts);
    assert_eq!(train.classes, 26);
    assert!(matches!(train.source, DatasetSource::Idx { variant: IdxVariant::EmnistLetters, .. }));
}
