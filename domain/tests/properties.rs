//! What holds of every sweep.

mod common;

use std::collections::{BTreeSet, HashSet};

use common::{STUDY, planned};
use gauntlet_domain::TaskId;
use gauntlet_domain::catalogue::pinned_facts;
use gauntlet_domain::experiment::TaskSpec;
use gauntlet_domain::plan::{Cell, Plan, TaskKind, plan};
use gauntlet_domain::sweep::parse;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use serde_json::Value;

const DATASETS: [&str; 3] = [
    "name = \"glyphs\"\ntrain_examples = 100",
    "name = \"fashion-mnist\"\nimage_size = 32",
    "name = \"rotated\"\nformat = \"glyphs\"\nrotation_degrees = 45",
];
const MODELS: [&str; 2] = [
    "backbone = \"resnet18-w16\"",
    "name = \"other\"\nbackbone = \"resnet18-w16\"\nnormalize = { mean = 0.2, std = 0.3 }",
];
const INITS: [&str; 4] = [
    "name = \"scratch\"",
    "name = \"pretrained\"\npretrain = { dataset = \"fashion-mnist\", recipe = { method = \"standard\", epochs = 3 } }",
    "name = \"robust\"\npretrain = { dataset = \"mnist-source\", recipe = { method = \"pgd-at\", inner = { eps = 0.1 } }, seed = 5 }",
    "name = \"letters\"\npretrain = { dataset = { name = \"glyphs\", glyph_seed = 9 }, recipe = { method = \"standard\" } }",
];
const RECIPES: [&str; 3] = [
    "name = \"standard\"\nmethod = \"standard\"\nepochs = 2",
    "name = \"dm\"\nmethod = \"dm\"\niterations = 10",
    "name = \"madry\"\nmethod = \"pgd-at\"\ninner = { eps = \"4/255\" }",
];
const ATTACKS: [&str; 7] = [
    "name = \"pgd\"\nmethod = \"pgd\"\neps = [\"2/255\", 0.03]",
    "name = \"fgsm\"\nmethod = \"fgsm\"\neps = \"8/255\"",
    "name = \"noise\"\nmethod = \"noise\"\neps = [0.1, 0.2, 0.3]",
    "name = \"l2\"\nmethod = \"pgd\"\nnorm = \"l2\"\neps = [0.5]\nexamples = 50",
    "name = \"boundary\"\nmethod = \"deepfool\"\neps = [0.5, 1]\nexamples = 50",
    "name = \"anywhere\"\nmethod = \"fab\"\nexamples = 50",
    "name = \"universal\"\nmethod = \"uap\"\neps = 0.1\ncraft_examples = 60",
];

/// The sections of a sweep, in some order.
#[derive(Debug, Clone)]
struct Sections {
    seeds: Vec<u64>,
    by_key: [(&'static str, Vec<String>); 5],
}

impl Sections {
    fn text(&self) -> String {
        let mut text = format!("name = \"some\"\nseeds = {:?}\n", self.seeds);
        for (key, sections) in &self.by_key {
            sections.iter().for_each(|section| text.push_str(&format!("[[{key}]]\n{section}\n")));
        }
        text
    }
}

fn some(all: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(all, 1..=all.len()).prop_shuffle().prop_map(|some| {
        some.into_iter()
            .map(|text| text.replace("\"mnist-source\"", "{ name = \"fashion-mnist\", image_size = 32 }"))
            .collect()
    })
}

prop_compose! {
    fn sections()(
        seeds in subsequence(vec![0u64, 1, 7, 9_000_000_000], 1..=3),
        datasets in some(&DATASETS),
        models in some(&MODELS),
        inits in some(&INITS),
        recipes in some(&RECIPES),
        attacks in some(&ATTACKS),
    ) -> Sections {
        let by_key = [("dataset", datasets), ("model", models), ("init", inits), ("recipe", recipes), ("attack", attacks)];
        Sections { seeds, by_key }
    }
}

fn planned_text(text: &str) -> Plan {
    planned(text, &pinned_facts())
}

fn ids(plan: &Plan) -> BTreeSet<TaskId> {
    plan.tasks.iter().map(|task| task.id).collect()
}

fn sorted(mut cells: Vec<Cell>) -> Vec<Cell> {
    cells.sort();
    cells
}

/// The name that a section goes by.
fn name_of(section: &str) -> String {
    let quoted = section.split('"').nth(1).unwrap_or_default();
    quoted.to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_graph_is_ordered_named_by_content_and_holds_every_cell(sections in sections()) {
        let plan = planned_text(&sections.text());
        let mut seen = HashSet::new();
        for task in &plan.tasks {
            prop_assert_eq!(task.id, task.spec.id());
            prop_assert_eq!(&task.inputs, &task.spec.inputs());
            prop_assert!(task.inputs.iter().all(|input| seen.contains(input)), "{} stands before its input", task.label);
            prop_assert!(seen.insert(task.id), "{} stands twice", task.label);
            prop_assert!(task.cost.is_finite() && task.cost > 0.0);
        }
        for cell in &plan.cells {
            prop_assert!(seen.contains(&cell.attack_task) && cell.train_task.is_none_or(|task| seen.contains(&task)));
        }
        let needed: HashSet<TaskId> = plan.cells.iter().flat_map(|cell| [Some(cell.attack_task), cell.train_task]).flatten()
            .chain(plan.tasks.iter().flat_map(|task| task.inputs.iter().copied())).collect();
        prop_assert_eq!(needed, seen);
    }

    #[test]
    fn planning_twice_gives_the_same(sections in sections()) {
        prop_assert_eq!(planned_text(&sections.text()), planned_text(&sections.text()));
    }

    #[test]
    fn the_order_of_sections_is_no_part_of_any_task(sections in sections()) {
        let mut reversed = sections.clone();
        reversed.seeds.reverse();
        reversed.by_key.iter_mut().for_each(|(_, sections)| sections.reverse());
        reversed.by_key.reverse();
        let (plan, other) = (planned_text(&sections.text()), planned_text(&reversed.text()));
        prop_assert_eq!(ids(&plan), ids(&other));
        prop_assert_eq!(sorted(plan.cells), sorted(other.cells));
    }

    #[test]
    fn an_added_attack_adds_only_attacks(sections in sections(), eps in 1u32..=255) {
        let text = sections.text();
        let more = format!("{text}[[attack]]\nname = \"added\"\nmethod = \"pgd\"\nsteps = 3\neps = \"{eps}/255\"\n");
        let (before, after) = (planned_text(&text), planned_text(&more));
        prop_assert!(ids(&before).is_subset(&ids(&after)));
        let known = ids(&before);
        prop_assert!(after.tasks.iter().filter(|task| !known.contains(&task.id)).all(|task| task.kind == TaskKind::Attack));
    }

    #[test]
    fn excluding_is_filtering(sections in sections(), axes in subsequence(vec![0usize, 1, 2, 3, 4, 5], 1..=3), pick in any::<Index>()) {
        let full = planned_text(&sections.text());
        let keys = ["dataset", "backbone", "init", "recipe", "attack"];
        let mut rule = String::from("[[exclude]]\n");
        let mut wanted = [const { None::<String> }; 5];
        let mut seed = None;
        for axis in axes {
            if axis == 5 {
                let value = sections.seeds[pick.index(sections.seeds.len())];
                seed = Some(value);
                rule.push_str(&format!("seed = {value}\n"));
            } else {
                let choices = &sections.by_key[axis].1;
                let name = name_of(&choices[pick.index(choices.len())]);
                rule.push_str(&format!("{} = [\"{name}\"]\n", keys[axis]));
                wanted[axis] = Some(name);
            }
        }
        let matches = |cell: &Cell| {
            let values = [&cell.dataset, &cell.backbone, &cell.init, &cell.recipe, &cell.attack];
            wanted.iter().zip(values).all(|(wanted, value)| wanted.as_ref().is_none_or(|wanted| wanted == value))
                && seed.is_none_or(|seed| seed == cell.seed)
        };
        let expected: Vec<Cell> = full.cells.iter().filter(|cell| !matches(cell)).cloned().collect();
        let text = format!("{}{rule}", sections.text());
        match parse(&text) {
            Err(_) => prop_assert!(expected.is_empty()),
            Ok(_) => {
                let trimmed = planned_text(&text);
                prop_assert_eq!(&trimmed.cells, &expected);
                prop_assert!(ids(&trimmed).is_subset(&ids(&full)));
            }
        }
        let kept: Vec<Cell> = full.cells.iter().filter(|cell| matches(cell)).cloned().collect();
        let included = planned_text(&text.replace("[[exclude]]", "[[include]]"));
        prop_assert_eq!(included.cells, kept);
    }

    #[test]
    fn any_other_number_is_another_task(sections in sections(), pick in any::<Index>()) {
        let plan = planned_text(&sections.text());
        let task = &plan.tasks[pick.index(plan.tasks.len())];
        let spec = serde_json::to_value(&task.spec).unwrap();
        let leaves = numbers(&spec, String::new());
        prop_assert!(!leaves.is_empty());
        for leaf in leaves {
            let mut changed = spec.clone();
            let number = changed.pointer_mut(&leaf).unwrap();
            *number = match number.as_u64() {
                Some(integer) => Value::from(integer + 1),
                None => Value::from(number.as_f64().unwrap().next_up()),
            };
            let changed: TaskSpec = serde_json::from_value(changed).unwrap();
            prop_assert_ne!(changed.id(), task.id, "{}", leaf);
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn no_toml_makes_the_reader_panic(text in "(\\[\\[(dataset|model|init|recipe|attack|exclude)\\]\\]\n|(name|seeds|eps|method|format|pretrain|inner|train|normalize) = (\"[a-z0-9/-]{0,8}\"|-?[0-9]{1,20}|[0-9.e]{1,6}|true|\\[1, \"2\"\\]|\\[\\]|\\{ eps = [0-9] \\})\n){0,20}") {
        let _ = parse(&text);
    }

    #[test]
    fn a_damaged_file_is_read_or_refused_at_places_that_exist(
        damages in proptest::collection::vec((any::<Index>(), any::<Index>(), "[\\PC\n]{0,6}"), 1..6)
    ) {
        let mut text: Vec<char> = STUDY.chars().collect();
        for (from, length, new) in damages {
            let from = from.index(text.len());
            let to = (from + length.index(12)).min(text.len());
            text.splice(from..to, new.chars());
            if text.is_empty() {
                break;
            }
        }
        let text: String = text.into_iter().collect();
        match parse(&text) {
            Ok(sweep) => { let _ = plan(&sweep, &pinned_facts()); }
            Err(mistakes) => {
                prop_assert!(!mistakes.is_empty());
                for mistake in mistakes {
                    prop_assert!(text.get(mistake.span.clone()).is_some(), "{:?}", mistake);
                    mistake.line_and_column(&text);
                }
            }
        }
    }
}

/// JSON pointers of all numbers.
fn numbers(value: &Value, path: String) -> Vec<String> {
    match value {
        Value::Number(_) => vec![path],
        Value::Object(map) => map.iter().flat_map(|(key, value)| numbers(value, format!("{path}/{key}"))).collect(),
        Value::Array(list) => {
            list.iter().enumerate().flat_map(|(at, value)| numbers(value, format!("{path}/{at}"))).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_task_keeps_its_identity() {
    // A change here means that no result of an earlier version is found any more: undo it, or mean it.
    let plan = planned_text(STUDY);
    let task = plan.tasks.iter().find(|task| task.kind == TaskKind::Pretrain).unwrap();
    insta::assert_snapshot!(format!("{}\n{}\n", task.id, task.spec.canonical_json()));
}
