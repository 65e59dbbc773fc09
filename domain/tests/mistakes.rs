//! What people read when a sweep is wrong.

mod common;

use common::{EXAMPLE, STUDY, evenly, example_facts, images, parse_mistakes, plan_mistakes, resnet18, with_file};
use gauntlet_domain::catalogue::pinned_facts;
use gauntlet_domain::experiment::{MomentTensor, ParameterShape};
use gauntlet_domain::sweep::{Facts, FileContent, parse};

/// Cases of one theme as one text: what was changed in [`STUDY`], and what is said of it.
#[derive(Default)]
struct Cases(String);

impl Cases {
    fn file(&mut self, title: &str, source: &str) -> &mut Self {
        self.0.push_str(&format!("# {title}\n{}\n", parse_mistakes(source)));
        self
    }

    /// The study with one text in place of another.
    fn changed(&mut self, from: &str, to: &str) -> &mut Self {
        assert!(STUDY.contains(from), "{from}");
        self.file(&to.replace('\n', " ⏎ "), &STUDY.replacen(from, to, 1))
    }

    /// The study with something added.
    fn added(&mut self, more: &str) -> &mut Self {
        self.file(&more.replace('\n', " ⏎ "), &format!("{STUDY}\n{more}\n"))
    }

    fn planned(&mut self, title: &str, source: &str, facts: &Facts) -> &mut Self {
        self.0.push_str(&format!("# {title}\n{}\n", plan_mistakes(source, facts)));
        self
    }
}

#[test]
fn what_is_not_toml_is_shown_where_it_stands() {
    let mut cases = Cases::default();
    cases
        .file("no value", "name = ")
        .file("not closed", "name = \"x\nseeds = [0]")
        .file("twice", "name = \"x\"\nname = \"y\"");
    cases.file("an empty file", "").file("a table for sections", "name = \"x\"\n[dataset]\nname = \"glyphs\"");
    insta::assert_snapshot!(cases.0);
}

#[test]
fn unknown_keys_and_wrong_types_name_the_field_and_what_was_expected() {
    let mut cases = Cases::default();
    cases.changed("epochs = 2", "epoch = 2");
    cases.changed("seeds = [0, 1]", "sedes = [0, 1]");
    cases.changed("seeds = [0, 1]", "seeds = 3");
    cases.changed("seeds = [0, 1]", "seeds = []");
    cases.changed("seeds = [0, 1]", "seeds = [0, -1, 0, 1.5, \"x\"]");
    cases.changed("name = \"study\"", "name = \"my study\"");
    cases.changed("train_examples = 500", "train_examples = \"500\"");
    cases.changed("train_examples = 500", "train_examples = 0");
    cases.changed("train_examples = 500", "channels = 2\nfit = \"crop\"\nimage_size = true");
    cases.changed("train_examples = 500", "min_size = 0.9\nmax_size = 0.5\nshift = nan\nnoise = 0x10");
    cases.changed("train_examples = 500", "train = \"x\"\nclasses = 10");
    cases.changed("steps = 10", "steps = 10\nstep_size = { eps = 0.25 }\nrandom_start = 1");
    cases.changed(
        "epochs = 2",
        "optimizer = { kind = \"sgd\", momentum = 1 }\nschedule = { kind = \"step\" }\naugment = { shft = 2 }",
    );
    cases.changed(
        "epochs = 2",
        "optimizer = { kind = \"adam\", momentum = 0.9 }\nschedule = { kind = \"constant\", final_learning_rate = 0 }",
    );
    cases.changed("backbone = \"resnet18-w16\"", "backbone = \"resnet18-w61\"");
    cases.changed(
        "backbone = \"resnet18-w16\"",
        "backbone = \"resnet18\"\nchannels = 1\nnormalize = { mean = [0.5, 0.5], std = 0 }",
    );
    insta::assert_snapshot!(cases.0);
}

#[test]
fn fields_that_do_not_belong_to_a_method_say_so() {
    let mut cases = Cases::default();
    cases.changed("epochs = 2", "epochs = 2\niterations = 3");
    cases.changed("epochs = 2", "inner = { eps = \"8/255\" }\nbeta = 2");
    cases.changed("iterations = 100", "beta = 2\ncoefficient = 3\ninner = { start = \"clean\" }");
    cases.changed("method = \"dm\"\niterations = 100", "method = \"pgd-at\"");
    cases.changed("method = \"dm\"\niterations = 100", "method = \"trades\"");
    cases.changed("method = \"dm\"\niterations = 100", "method = \"none\"\nepochs = 3");
    cases.changed("backbone = \"resnet18-w16\"", "backbone = \"resnet18-w16\"\nstem = \"cifar\"");
    cases.changed("backbone = \"resnet18-w16\"", "backbone = \"resnet50\"\nstem = \"small\"");
    cases.changed("backbone = \"resnet18-w16\"", "backbone = \"wrn-28-10\"\nwidth = 64");
    for width in ["0", "4", "60", "520", "-8", "32.0", "[32, 64]", "\"narrow\""] {
        cases.changed("backbone = \"resnet18-w16\"", &format!("backbone = \"resnet18\"\nwidth = {width}"));
    }
    cases.changed("method = \"noise\"", "method = \"noise\"\nsteps = 3");
    cases.changed("method = \"noise\"", "method = \"fgsm\"\ndraws = 3");
    cases.changed("method = \"noise\"", "method = \"nosie\"");
    insta::assert_snapshot!(cases.0);
}

#[test]
fn radii_that_cannot_be_meant_are_refused() {
    let mut cases = Cases::default();
    for eps in
        ["300", "8", "\"300/255\"", "[]", "[\"8/255\", \"16/510\"]", "\"eight\"", "[\"0\", -1, true]", "inf", "0x8"]
    {
        cases.changed("eps = \"8/255\"", &format!("eps = {eps}"));
    }
    cases.changed("eps = \"8/255\"", "norm = \"l2\"\neps = 5000");
    cases.changed("steps = 10", "steps = 10\nstep_size = 2");
    cases.changed("eps = \"8/255\"", "norm = \"l1\"");
    insta::assert_snapshot!(cases.0);
}

#[test]
fn unknown_and_repeated_names_are_pointed_at() {
    let mut cases = Cases::default();
    cases.changed("name = \"glyphs\"", "name = \"glyfs\"");
    cases.changed("name = \"glyphs\"", "name = \"glyphs\"\nformat = \"cifar\"");
    cases.changed("name = \"glyphs\"", "name = \"glyphs\"\nformat = \"idxs\"");
    cases.changed("dataset = \"fashion-mnist\"", "dataset = \"fashion-mist\"");
    cases.changed("recipe = \"standard\" }", "recipe = \"standart\" }");
    cases.changed("recipe = \"standard\" }", "recipe = \"standard\", init = \"rubust\" }");
    cases.changed("name = \"noise\"", "name = \"pgd10\"");
    cases.added("[[model]]\nbackbone = \"resnet18-w16\"");
    let width = "[[model]]\nbackbone = \"resnet18\"\nwidth = 32";
    cases.added(&format!("{width}\n{width}"));
    cases.added(&format!("{width}\n[[exclude]]\nbackbone = \"resnet18-w32\""));
    cases.changed("init = \"scratch\"\nrecipe = \"dm\"", "init = \"scrtch\"\nrecipe = [\"dm\", \"md\"]\nseed = 2");
    insta::assert_snapshot!(cases.0);
}

#[test]
fn inits_say_exactly_one_thing_and_lead_somewhere() {
    let mut cases = Cases::default();
    cases.added("[[init]]\nname = \"x\"");
    cases.added("[[init]]\nname = \"x\"\nscratch = false");
    cases.added("[[init]]\nname = \"x\"\nscratch = true\ncheckpoint = \"a.pth\"");
    cases.added("[[init]]\nname = \"x\"\ncheckpoint = \"a.zip\"");
    cases.added("[[init]]\nname = \"x\"\npretrain = { dataset = \"mnist\" }");
    cases.added("[[init]]\nname = \"x\"\nscratch = true\nrobust = false");
    cases.added("[[init]]\nname = \"x\"\npretrain = { dataset = \"mnist\", recipe = \"dm\" }\nrobust = true");
    cases.added("[[init]]\nname = \"x\"\ncheckpoint = \"a.pth\"\nrobust = \"pgd-at\"");
    cases.added("[[init]]\nname = \"x\"\npretrain = { dataset = \"mnist\", recipe = { method = \"none\" } }");
    cases.changed("recipe = \"standard\" }", "recipe = \"standard\", init = \"pretrained\" }");
    let chained = STUDY.replacen("recipe = \"standard\" }", "recipe = \"standard\", init = \"robust\" }", 1);
    cases.file(
        "a circle of two",
        &chained.replacen("inner = { eps = \"0.1\" } }", "inner = { eps = \"0.1\" } }\ninit = \"pretrained\"", 1),
    );
    let links: String = (0..70)
        .map(|n| {
            format!(
                "[[init]]\nname = \"i{}\"\npretrain = {{ dataset = \"mnist\", recipe = \"dm\", init = \"i{n}\" }}\n",
                n + 1
            )
        })
        .collect();
    cases.added(&format!("[[init]]\nname = \"i0\"\nscratch = true\n{links}"));
    let text = cases.0.lines().map(|line| if line.len() > 500 { "# a chain of seventy" } else { line });
    insta::assert_snapshot!(text.collect::<Vec<_>>().join("\n"));
}

#[test]
fn rules_and_grids_that_leave_nothing_are_refused() {
    let mut cases = Cases::default();
    cases.added("[[exclude]]\nbackbone = \"resnet18-w16\"");
    cases.added("[[include]]\ninit = \"scratch\"\nrecipe = \"dm\"");
    cases.added("[[include]]\nrecipe = \"standard\"\n[[exclude]]\nrecipe = \"dm\"\nseed = 0");
    cases.added("[[exclude]]");
    cases.added("[[exclude]]\ndataset = []");
    cases.file("nothing but a name", "name = \"empty\"");
    let files = "[[dataset]]\nname = \"x\"\nformat = \"safetensors\"\n";
    cases.added(files).added(&format!("{files}train = \"x\"")).added(&format!("{files}test = \"x\""));
    cases.added("[[dataset]]\nname = \"x\"\nformat = \"idx\"\ntest = { images = \"\", lables = \"y\" }");
    insta::assert_snapshot!(cases.0);
}

#[test]
fn a_grid_of_a_billion_cells_is_refused_at_once() {
    let many = |count: usize, text: &str| (0..count).map(|n| text.replace('#', &n.to_string())).collect::<String>();
    let seeds: Vec<String> = (0..1000).map(|seed| seed.to_string()).collect();
    let source = format!(
        "name = \"huge\"\nseeds = [{}]\n{}{}{}{}",
        seeds.join(","),
        many(100, "[[dataset]]\nname = \"d#\"\nformat = \"glyphs\"\n"),
        "[[model]]\nbackbone = \"resnet18-w16\"\n",
        many(100, "[[recipe]]\nname = \"r#\"\nmethod = \"standard\"\n"),
        many(100, "[[attack]]\nname = \"a#\"\nmethod = \"fgsm\"\neps = 0.1\n"),
    );
    let start = std::time::Instant::now();
    let said = parse_mistakes(&source);
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    insta::assert_snapshot!(said);
}

#[test]
fn a_file_of_nothing_but_mistakes_is_answered_with_a_hundred() {
    let source: String = (0..10_000).map(|n| format!("[[attack]]\nname = \"a{n}\"\nmetod = \"pgd\"\n")).collect();
    assert_eq!(parse(&source).unwrap_err().len(), 101);
}

fn own_files(facts: Facts) -> Facts {
    let facts = with_file(facts, "i", FileContent::IdxImages { examples: 100, height: 28, width: 28 });
    let facts =
        with_file(facts, "l", FileContent::IdxLabels { examples: 100, max_label: 9, per_class: evenly(100, 9 + 1) });
    with_file(facts, "short", FileContent::IdxLabels { examples: 99, max_label: 9, per_class: evenly(99, 9 + 1) })
}

#[test]
fn files_that_do_not_fit_the_sweep_are_named() {
    let facts = own_files(pinned_facts());
    let with = |dataset: &str| {
        STUDY.replacen("name = \"glyphs\"\ntrain_examples = 500", dataset, 1).replacen("examples = 500\n", "", 1)
    };
    let idx = |test: &str| {
        with(&format!("name = \"own\"\nformat = \"idx\"\ntrain = {{ images = \"i\", labels = \"l\" }}\n{test}"))
    };
    let mut cases = Cases::default();
    cases.planned("nothing known", &idx("test = { images = \"i\", labels = \"nowhere\" }"), &facts);
    cases.planned("images and labels", &idx("test = { images = \"i\", labels = \"short\" }"), &facts);
    cases.planned("images as labels", &idx("test = { images = \"l\", labels = \"i\" }"), &facts);
    let test = "test = { images = \"i\", labels = \"l\" }";
    cases.planned("too few classes", &idx(&format!("{test}\nclasses = 5")), &facts);
    cases.planned("too few examples", &idx(&format!("{test}\ntrain_examples = 101\ntest_examples = 5000")), &facts);
    cases.planned("one example", &idx(&format!("{test}\ntrain_examples = 1")), &facts);
    cases.planned("too small", &idx(&format!("{test}\nimage_size = 8")), &facts);
    cases.planned("padded smaller", &idx(&format!("{test}\nimage_size = 16\nfit = \"pad\"")), &facts);
    cases.planned("channels", &idx(&format!("{test}\nchannels = 3")), &facts);
    cases.planned("grey for resnet18", &STUDY.replace("resnet18-w16", "resnet18"), &facts);
    cases.planned(
        "normalize",
        &STUDY.replace("\"resnet18-w16\"", "\"resnet18-w16\"\nnormalize = { mean = [0.1, 0.2, 0.3] }"),
        &facts,
    );
    cases.planned("attack", &STUDY.replace("examples = 500\n\n[[attack]]", "examples = 1301\n\n[[attack]]"), &facts);
    let colour = with_file(facts.clone(), "rgb", images(100, 3, 32, 9));
    let colour = with_file(colour, "zeros", images(100, 1, 32, 0));
    let rgb = |more: &str| with(&format!("name = \"own\"\nformat = \"safetensors\"\ntest = \"rgb\"\n{more}"));
    cases.planned("colour to grey", &rgb("train = \"rgb\"\nchannels = 1"), &colour);
    cases.planned("splits differ", &rgb("train = \"zeros\""), &colour);
    cases.planned(
        "one class",
        &with("name = \"own\"\nformat = \"safetensors\"\ntest = \"zeros\"\ntrain = \"zeros\""),
        &colour,
    );
    insta::assert_snapshot!(cases.0);
}

#[test]
fn checkpoints_of_others_are_told_by_what_is_wrong_inside_their_wrappers() {
    let wrapped = |wrapper: &str| -> Vec<ParameterShape> {
        let inside = |tensor: ParameterShape| ParameterShape { name: format!("{wrapper}{}", tensor.name), ..tensor };
        resnet18(10).into_iter().map(inside).collect()
    };
    let with = |tensors: Vec<ParameterShape>, moments: Vec<MomentTensor>| {
        with_file(example_facts(10, 10), "cases/resnet18.safetensors", FileContent::Checkpoint { tensors, moments })
    };
    let mut cases = Cases::default();
    let mut normalised = wrapped("module.model.");
    normalised.push(ParameterShape { name: "module.normalizer.new_mean".into(), shape: vec![3, 1, 1] });
    let moments = vec![MomentTensor::new("module.normalizer.new_mean", &[0.4914, 0.4822, 0.4465])];
    cases.planned("another normalisation", EXAMPLE, &with(normalised, moments));
    let mut both = wrapped("module.model.");
    both.extend(wrapped("module.attacker.model."));
    both.retain(|tensor| tensor.name != "module.model.bn1.bias");
    both.iter_mut()
        .filter(|tensor| tensor.name.ends_with("attacker.model.fc.bias"))
        .for_each(|bias| bias.shape = vec![9]);
    cases.planned("copies that differ", EXAMPLE, &with(both, vec![]));
    cases.planned("an unknown wrapper", EXAMPLE, &with(wrapped("teacher."), vec![]));
    let vit = EXAMPLE.replace("\"resnet18\"", "\"vit_b_16\"").replace("test   =", "image_size = 40\ntest   =");
    cases.planned("sides that are no multiples of 16", &vit, &example_facts(10, 10));
    let named = |name: &str| {
        let init = format!("[[init]]\nname = \"x\"\ncheckpoint = {{ catalogue = \"{name}\" }}");
        format!("{STUDY}\n{init}\n")
    };
    cases.planned("of another backbone", &named("efficientnet-lite0-imagenet"), &pinned_facts());
    cases.file("no such weights", &named("efficientnet-lite0"));
    insta::assert_snapshot!(cases.0);
}

#[test]
fn checkpoints_that_do_not_fit_are_told_by_their_tensors() {
    let with = |tensors: Vec<ParameterShape>| {
        with_file(
            example_facts(10, 10),
            "cases/resnet18.safetensors",
            FileContent::Checkpoint { tensors, moments: vec![] },
        )
    };
    let mut cases = Cases::default();
    let declared = EXAMPLE.replace("format = \"safetensors\"", "format = \"safetensors\"\nclasses = 10");
    cases.planned("class count declared", &declared, &example_facts(10, 1000));
    cases.planned("more labels than classes", EXAMPLE, &example_facts(26, 10));
    cases.planned("nothing of resnet18", EXAMPLE, &with(vec![ParameterShape { name: "x".into(), shape: vec![1] }]));
    let mut tensors = resnet18(10);
    tensors.retain(|tensor| tensor.name != "layer1.0.bn1.bias");
    tensors[0].shape = vec![64, 1, 7, 7];
    tensors.push(ParameterShape { name: "extra.weight".into(), shape: vec![2, 3] });
    cases.planned("a few", EXAMPLE, &with(tensors));
    let narrow = EXAMPLE.replace("backbone  = \"resnet18\"", "backbone = \"resnet18\"\nwidth = 32");
    cases.planned("another width", &narrow, &example_facts(10, 10));
    cases.planned("no head", EXAMPLE, &with(resnet18(10).into_iter().filter(|t| !t.name.starts_with("fc.")).collect()));
    cases.planned(
        "a data set as checkpoint",
        EXAMPLE,
        &with_file(example_facts(10, 10), "cases/resnet18.safetensors", images(1, 3, 32, 1)),
    );
    let source = STUDY
        .replace("method = \"standard\"\nepochs = 2", "method = \"none\"")
        .replace("recipe = \"standard\" }", "recipe = \"dm\" }");
    cases.planned("a pre-trained model on other classes", &source, &pinned_facts());
    let mismatch = STUDY.replace("image_size = 32, fit", "image_size = 32, channels = 3, fit");
    cases.planned("source in colour", &mismatch, &pinned_facts());
    insta::assert_snapshot!(cases.0);
}
