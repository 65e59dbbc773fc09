//! Subsets of data sets, planted cues, and frequencies that are taken away.

#![allow(clippy::unwrap_used, reason = "a test may stop at once, and so may its helpers")]

mod common;

use common::{parse_mistakes, plan_mistakes, planned, with_file};
use gauntlet_domain::catalogue::pinned_facts;
use gauntlet_domain::experiment::{
    CuePairing, DatasetSource, DatasetSpec, FrequencyBand, GlyphCue, Pass, Subset, TaskSpec,
};
use gauntlet_domain::sweep::{Facts, FileContent, FolderClass};

/// A grid of one training and one attack on this data set.
fn sweep(dataset: &str) -> String {
    format!(
        "name = \"t\"\n[[dataset]]\n{dataset}\n[[model]]\nbackbone = \"resnet18-w16\"\n[[init]]\nname = \"scratch\"\n\
         [[recipe]]\nname = \"standard\"\nmethod = \"standard\"\nepochs = 1\n[[attack]]\nname = \"fgsm\"\nmethod = \"fgsm\"\neps = \"1/255\"\n"
    )
}

/// The train and the test split.
fn splits_of(dataset: &str, facts: &Facts) -> [DatasetSpec; 2] {
    let plan = planned(&sweep(dataset), facts);
    let of = |train: bool| {
        let split = |spec: &TaskSpec| matches!(spec, TaskSpec::Train(_)) == train;
        plan.tasks.iter().map(|task| &task.spec).find(|spec| split(spec)).unwrap().dataset().clone()
    };
    [of(true), of(false)]
}

fn splits(dataset: &str) -> [DatasetSpec; 2] {
    splits_of(dataset, &pinned_facts())
}

fn mistakes(dataset: &str) -> String {
    match parse_mistakes(&sweep(dataset)) {
        said if said == "no mistake" => plan_mistakes(&sweep(dataset), &pinned_facts()),
        said => said,
    }
}

#[test]
fn kept_classes_are_counted_in_both_splits() {
    let [train, test] = splits("name = \"fashion-mnist\"\nkeep_classes = [7, 0, 3]\nimage_size = 32");
    assert_eq!((train.examples, train.classes, test.examples, test.classes), (18_000, 3, 3_000, 3));
    assert_eq!(train.subset, Subset { classes: Some(vec![7, 0, 3]), per_class: None });
    assert_eq!(train.subset, test.subset);
    let [first, _] = splits("name = \"fashion-mnist\"\nkeep_classes = 3\nimage_size = 32");
    assert_eq!(first.subset.classes, Some(vec![0, 1, 2]));
    let [cut, _] = splits("name = \"fashion-mnist\"\nkeep_classes = 3\ntrain_examples = 100\nimage_size = 32");
    assert_eq!(cut.examples, 100);
}

#[test]
fn counts_per_class_are_of_one_split() {
    let [train, test] =
        splits("name = \"fashion-mnist\"\ntrain_examples_per_class = 50\nkeep_classes = 4\nimage_size = 32");
    assert_eq!((train.examples, train.subset.per_class), (200, Some(50)));
    assert_eq!((test.examples, test.subset.per_class), (4_000, None));
}

#[test]
fn of_letters_there_are_as_many_as_wanted() {
    let [train, test] = splits("name = \"glyphs\"\nkeep_classes = [25, 0]");
    assert_eq!((train.examples, test.examples, train.classes), (200, 100, 2));
    let [train, test] =
        splits("name = \"glyphs\"\nkeep_classes = 5\ntrain_examples = 9_000\ntest_examples_per_class = 7");
    assert_eq!((train.examples, test.examples), (9_000, 35));
}

#[test]
fn folders_are_kept_by_name_or_number() {
    let class = |name: &str, examples| FolderClass { name: name.to_owned(), examples };
    let folder = || FileContent::ImageFolder { classes: vec![class("ape", 10), class("bee", 20), class("cat", 30)] };
    let facts = with_file(with_file(pinned_facts(), "d/train", folder()), "d/test", folder());
    let dataset = "name = \"d\"\nformat = \"folder\"\nroot = \"d\"\nimage_size = 32\nkeep_classes = ";
    let [train, _] = splits_of(&format!("{dataset}[\"cat\", 0]"), &facts);
    assert_eq!((train.subset.classes, train.examples), (Some(vec![2, 0]), 40));
    insta::assert_snapshot!(plan_mistakes(&sweep(&format!("{dataset}[\"cat\", \"dog\"]")), &facts));
    insta::assert_snapshot!(plan_mistakes(&sweep(&format!("{dataset}[\"cat\", 2]")), &facts));
}

#[test]
fn impossible_subsets_are_mistakes_with_a_place() {
    let fashion = "name = \"fashion-mnist\"\nimage_size = 32\n";
    let said = [
        "keep_classes = [0, 10]",
        "keep_classes = 11",
        "keep_classes = 1",
        "keep_classes = [4]",
        "keep_classes = [4, 4]",
        "keep_classes = [0, \"shirt\"]",
        "keep_classes = \"all\"",
        "train_examples_per_class = 6_001",
        "keep_classes = 2\ntest_examples = 2_001",
    ]
    .map(|keys| format!("{keys}\n{}", mistakes(&format!("{fashion}{keys}"))));
    insta::assert_snapshot!(said.join("\n"));
    insta::assert_snapshot!(mistakes("name = \"glyphs\"\ntrain_examples_per_class = 2\ntrain_examples = 53"));
}

#[test]
fn a_file_whose_classes_were_not_counted_can_not_have_a_subset() {
    let file = FileContent::SafeTensorsDataset {
        examples: 10,
        channels: 1,
        height: 32,
        width: 32,
        max_label: 4,
        per_class: Vec::new(),
    };
    let facts = with_file(pinned_facts(), "f", file);
    let dataset = "name = \"d\"\nformat = \"safetensors\"\ntrain = \"f\"\ntest = \"f\"\n";
    assert_eq!(plan_mistakes(&sweep(dataset), &facts), "no mistake");
    insta::assert_snapshot!(plan_mistakes(&sweep(&format!("{dataset}keep_classes = 2")), &facts));
}

#[test]
fn a_cue_is_part_of_the_letters() {
    let [train, test] = splits("name = \"glyphs\"\ncue = { amplitude = \"4/255\", seed = 3, pairing = \"shuffled\" }");
    for split in [train, test] {
        let DatasetSource::Glyphs(options) = split.source else { panic!("{split:?}") };
        assert_eq!(options.cue, Some(GlyphCue { amplitude: 4, seed: 3, pairing: CuePairing::Shuffled }));
    }
    let [train, _] = splits("name = \"glyphs\"\ncue = { amplitude = 0.01 }");
    let DatasetSource::Glyphs(options) = train.source else { panic!("{train:?}") };
    assert_eq!(options.cue, Some(GlyphCue { amplitude: 3, seed: 0, pairing: CuePairing::Label }));
}

#[test]
fn impossible_cues_are_mistakes_with_a_place() {
    let said = [
        "{ amplitude = 0.001 }",
        "{ amplitude = \"128/255\" }",
        "{ seed = 1 }",
        "{ amplitude = \"1/255\", pairing = \"none\" }",
    ]
    .map(|cue| mistakes(&format!("name = \"glyphs\"\ncue = {cue}")));
    insta::assert_snapshot!(said.join("\n"));
    insta::assert_snapshot!(mistakes("name = \"fashion-mnist\"\ncue = { amplitude = \"1/255\" }"));
}

#[test]
fn frequencies_are_kept_in_both_splits_and_make_another_data_set() {
    let [whole, _] = splits("name = \"glyphs\"");
    assert!(!serde_json::to_string(&whole).unwrap().contains("frequencies"), "identities of older sweeps would change");
    for (keep, pass) in [("low", Pass::Low), ("high", Pass::High)] {
        let parts = splits(&format!("name = \"glyphs\"\nfrequencies = {{ keep = \"{keep}\", radius = 8 }}"));
        let band = Some(FrequencyBand { keep: pass, radius: 8.0 });
        assert_eq!(parts.each_ref().map(|split| split.frequencies), [band; 2]);
        assert_ne!(parts[0].short_digest(), whole.short_digest());
        assert_eq!(DatasetSpec { frequencies: None, ..parts[0].clone() }, whole);
    }
}

#[test]
fn frequencies_that_cannot_be_kept_are_mistakes_with_a_place() {
    let said = [
        "8",
        "{ keep = \"low\" }",
        "{ radius = 8 }",
        "{ keep = \"middle\", radius = 8 }",
        "{ keep = \"low\", radius = -1 }",
    ]
    .map(|frequencies| mistakes(&format!("name = \"glyphs\"\nfrequencies = {frequencies}")));
    insta::assert_snapshot!(said.join("\n"));
}
