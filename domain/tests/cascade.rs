//! Attacks that come after others, and what is said of those that cannot.

mod common;

use common::{parse_mistakes, planned};
use gauntlet_domain::TaskId;
use gauntlet_domain::catalogue::pinned_facts;
use gauntlet_domain::experiment::{AttackSpec, Cascade, Shard, TaskSpec};
use gauntlet_domain::plan::{Plan, PlannedTask};

/// Two seeds, each under these attacks.
fn sweep(attacks: &str) -> String {
    format!(
        r#"
name = "s"
seeds = [0, 1]
[[dataset]]
name = "glyphs"
[[model]]
backbone = "resnet18-w16"
[[recipe]]
name = "standard"
method = "standard"
epochs = 1
{attacks}
"#
    )
}

const PGD: &str = "[[attack]]\nname = \"pgd20\"\nmethod = \"pgd\"\neps = [\"2/255\", \"8/255\"]\n";

/// AutoAttack, with this more.
fn after(more: &str) -> String {
    format!("{PGD}[[attack]]\nname = \"aa\"\nmethod = \"autoattack\"\n{more}\n")
}

fn attack<'a>(plan: &'a Plan, name: &str) -> (&'a PlannedTask, &'a AttackSpec) {
    let task = plan.tasks.iter().find(|task| task.label.ends_with(name)).expect(name);
    match &task.spec {
        TaskSpec::Attack(spec) => (task, spec),
        TaskSpec::Train(_) | TaskSpec::Analyze(_) => panic!("{name} is a training"),
    }
}

#[test]
fn the_evaluation_of_the_same_run_in_the_same_ball_is_an_input() {
    let plan =
        planned(&sweep(&after("eps = \"8/255\"\ncascade = { after = \"pgd20\", until_aai = 0.02 }")), &pinned_facts());
    assert_eq!((plan.tasks.len(), plan.cells.len()), (2 * (1 + 2 + 1), 2 * 3));
    for seed in ["seed 0", "seed 1"] {
        let (earlier, _) = attack(&plan, &format!("{seed} · pgd20 8/255"));
        let (task, spec) = attack(&plan, &format!("{seed} · aa 8/255"));
        assert_eq!(spec.cascade, Some(Cascade { after: earlier.id, until_aai: 0.02 }));
        assert_eq!(task.inputs, [earlier.inputs.clone(), vec![earlier.id]].concat());
        assert_eq!(task.spec.artifacts(), earlier.inputs, "nothing of the earlier attack is loaded");
        let shards = task.split(&[Shard { first: 0, examples: 256 }, Shard { first: 256, examples: 1044 }]);
        assert!(shards.iter().all(|shard| shard.inputs == task.inputs && shard.spec.cascade() == spec.cascade));
    }
}

#[test]
fn a_cascade_is_part_of_the_identity_of_what_comes_after_and_of_nothing_else() {
    let ids = |more: &str| -> Vec<TaskId> {
        planned(&sweep(&after(&format!("eps = \"8/255\"\n{more}"))), &pinned_facts())
            .tasks
            .iter()
            .map(|it| it.id)
            .collect()
    };
    let (without, with) = (ids(""), ids("cascade = { after = \"pgd20\" }"));
    let same = without.iter().filter(|id| with.contains(id)).count();
    assert_eq!((without.len(), same), (8, 6), "trainings and earlier attacks are shared");
    assert_eq!(ids("cascade = { after = \"pgd20\", until_aai = 0.0 }"), with, "the default");
    assert_ne!(ids("cascade = { after = \"pgd20\", until_aai = 0.1 }"), with);
    let plan = planned(&sweep(&after("eps = \"8/255\"")), &pinned_facts());
    assert!(plan.tasks.iter().all(|task| !task.spec.canonical_json().contains("cascade")));
}

#[test]
fn a_cascade_may_have_several_steps() {
    let third = "[[attack]]\nname = \"last\"\nmethod = \"square\"\neps = \"8/255\"\ncascade = { after = \"aa\" }\n";
    let plan = planned(&sweep(&(after("eps = \"8/255\"\ncascade = { after = \"pgd20\" }") + third)), &pinned_facts());
    let (second, _) = attack(&plan, "seed 0 · aa 8/255");
    assert_eq!(attack(&plan, "seed 0 · last 8/255").1.cascade.map(|it| it.after), Some(second.id));
}

#[test]
fn cascades_that_cannot_be_followed_are_refused() {
    let mut cases = String::new();
    let mut case = |title: &str, source: &str| {
        cases.push_str(&format!("# {title}\n{}\n", parse_mistakes(source)));
    };
    let aa = |more: &str| sweep(&after(&format!("eps = \"8/255\"\n{more}")));
    case("a misspelt name", &aa("cascade = { after = \"pgd2\" }"));
    case("no name", &aa("cascade = { until_aai = 0.0 }"));
    case("no table", &aa("cascade = \"pgd20\""));
    case("a wrong share and a wrong key", &aa("cascade = { after = \"pgd20\", until_aai = 1, untill = 0 }"));
    case("itself", &aa("cascade = { after = \"aa\" }"));
    let later = "[[attack]]\nname = \"last\"\nmethod = \"square\"\neps = \"8/255\"\n";
    case("one that comes later", &(aa("cascade = { after = \"last\" }") + later));
    let back = format!("{later}cascade = {{ after = \"aa\" }}\n");
    case("a circle", &(aa("cascade = { after = \"last\" }") + &back));
    case("another norm", &aa("norm = \"l2\"\ncascade = { after = \"pgd20\" }"));
    case("another radius", &sweep(&after("eps = [\"8/255\", \"4/255\"]\ncascade = { after = \"pgd20\" }")));
    case(
        "a minimum-norm attack",
        &sweep(
            &after("eps = 0.1")
                .replace("pgd20", "df")
                .replace("\"pgd\"", "\"deepfool\"")
                .replace("eps = 0.1", "eps = 0.1\nnorm = \"l2\"\ncascade = { after = \"df\" }"),
        ),
    );
    case(
        "of a minimum-norm attack",
        &sweep(&after("").replace("\"autoattack\"", "\"cw\"\ncascade = { after = \"pgd20\" }")),
    );
    let fewer = |examples: &str| {
        aa(&format!("{examples}cascade = {{ after = \"pgd20\" }}")).replace("\"pgd\"\n", "\"pgd\"\nexamples = 500\n")
    };
    case("more examples", &fewer("examples = 1000\n"));
    case("all examples", &fewer(""));
    case("as many examples", &fewer("examples = 500\n"));
    let exclude = "[[exclude]]\nattack = \"pgd20\"\nseed = 1\n";
    case("rules that drop the earlier one", &(aa("cascade = { after = \"pgd20\" }") + exclude));
    let both = "[[exclude]]\nattack = [\"pgd20\", \"aa\"]\nseed = 1\n";
    case("rules that drop both", &(aa("cascade = { after = \"pgd20\" }") + both));
    insta::assert_snapshot!(cases);
}
