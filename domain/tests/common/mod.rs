//! What the tests of the planner share.
#![allow(dead_code)] // each test file uses its own part

use gauntlet_domain::Digest;
use gauntlet_domain::catalogue;
use gauntlet_domain::experiment::{Backbone, ParameterShape, Stem};
use gauntlet_domain::plan::{Plan, plan};
use gauntlet_domain::sweep::{Diagnostic, Facts, FileContent, FileFacts, FilePlace, Sweep, parse};

pub const EXAMPLE: &str = r#"
name  = "imported-checkpoint"
seeds = [0]

[[dataset]]                       # the target data
name   = "cases"
format = "safetensors"            # images: u8 [N,C,H,W]; labels: i64 [N].  Others: idx, cifar, folder, glyphs, or a catalogue name alone
test   = "cases/images.safetensors"

[[model]]
backbone  = "resnet18"            # torchvision's architectures under torchvision's parameter names
normalize = { mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5] }

[[init]]
name       = "imported"
checkpoint = "cases/resnet18.safetensors"     # .safetensors or a PyTorch .pth state dict; or pretrain = { dataset = …, recipe = …, … }

[[recipe]]
name   = "as-is"
method = "none"

[[attack]]
name   = "pgd20"
method = "pgd"
norm   = "linf"
eps    = ["2/255", "8/255"]       # a list is an axis
steps  = 20
step_size = "2/255"               # or relative: step_size = { of_eps = 0.25 }
random_start = true
"#;

/// Two pre-trainings, two recipes, two seeds, two attacks, one rule.
pub const STUDY: &str = r#"
name = "study"
seeds = [0, 1]

[[dataset]]
name = "glyphs"
train_examples = 500

[[model]]
backbone = "resnet18-w16"

[[init]]
name = "scratch"

[[init]]
name = "pretrained"
pretrain = { dataset = "fashion-mnist", recipe = "standard" }

[[init]]
name = "robust"
[init.pretrain]
dataset = { name = "fashion-mnist", train_examples = 12000, image_size = 32, fit = "pad" }
recipe = { method = "pgd-at", epochs = 3, inner = { eps = "0.1" } }

[[recipe]]
name = "standard"
method = "standard"
epochs = 2

[[recipe]]
name = "dm"
method = "dm"
iterations = 100

[[exclude]]
init = "scratch"
recipe = "dm"

[[attack]]
name = "pgd10"
method = "pgd"
eps = ["2/255", 0.03]
steps = 10
examples = 500

[[attack]]
name = "noise"
method = "noise"
eps = "8/255"
"#;

pub fn parsed(source: &str) -> Sweep {
    parse(source).unwrap_or_else(|mistakes| panic!("{}", rendered(source, &mistakes)))
}

pub fn planned(source: &str, facts: &Facts) -> Plan {
    plan(&parsed(source), facts).unwrap_or_else(|mistakes| panic!("{}", rendered(source, &mistakes)))
}

/// Diagnostics as people read them, without colours.
pub fn rendered(source: &str, mistakes: &[Diagnostic]) -> String {
    let lines = mistakes.iter().map(|mistake| {
        let (line, column) = mistake.line_and_column(source);
        let found: String = source.get(mistake.span.clone()).unwrap_or("<no such place>").chars().take(60).collect();
        let help = mistake.help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
        format!("{line}:{column} {} «{found}»\n  {}{help}\n", mistake.field, mistake.message)
    });
    lines.collect()
}

pub fn parse_mistakes(source: &str) -> String {
    match parse(source) {
        Ok(_) => "no mistake".to_owned(),
        Err(mistakes) => rendered(source, &mistakes),
    }
}

pub fn plan_mistakes(source: &str, facts: &Facts) -> String {
    match plan(&parsed(source), facts) {
        Ok(_) => "no mistake".to_owned(),
        Err(mistakes) => rendered(source, &mistakes),
    }
}

pub fn with_file(mut facts: Facts, path: &str, content: FileContent) -> Facts {
    let digest = Digest::of(path.as_bytes());
    facts.files.insert(FilePlace::Sweep(path.to_owned()), FileFacts { digest, content });
    facts
}

pub fn images(examples: u32, channels: u32, side: u32, max_label: u32) -> FileContent {
    let per_class = evenly(examples, max_label + 1);
    FileContent::SafeTensorsDataset { examples, channels, height: side, width: side, max_label, per_class }
}

/// Examples of each class, as even as can be.
pub fn evenly(examples: u32, classes: u32) -> Vec<u32> {
    (0..classes).map(|class| (examples + classes - 1 - class) / classes).collect()
}

pub fn resnet18(classes: u32) -> Vec<ParameterShape> {
    let mut tensors = Backbone::ResNet18.state_dict(Stem::Standard, 3, classes);
    tensors.push(ParameterShape { name: "bn1.num_batches_tracked".to_owned(), shape: vec![] });
    tensors
}

/// What is known of the files of [`EXAMPLE`]: 64 images with labels below `labels`, a checkpoint of `classes` classes.
pub fn example_facts(labels: u32, classes: u32) -> Facts {
    let facts = with_file(catalogue::pinned_facts(), "cases/images.safetensors", images(64, 3, 64, labels - 1));
    with_file(
        facts,
        "cases/resnet18.safetensors",
        FileContent::Checkpoint { tensors: resnet18(classes), moments: vec![] },
    )
}
