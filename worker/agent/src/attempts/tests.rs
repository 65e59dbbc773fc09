use gauntlet_domain::experiment::{
    AttackConfig, AttackMethod, AttackSpec, Backbone, DatasetSource, DatasetSpec, Fit, ImageShape, ModelSpec, Norm,
    Normalize, Stem, Subset, TaskSpec, Weights,
};
use gauntlet_domain::task::MemoryPlan;
use gauntlet_domain::{AttemptNumber, Digest, TaskId};
use proptest::prelude::*;

use super::*;

fn attempt(task: u8, number: u32) -> AttemptRef {
    AttemptRef { task: TaskId::from_digest(Digest::of(&[task])), attempt: AttemptNumber(number) }
}

fn spec() -> TaskSpec {
    let dataset = DatasetSpec {
        subset: Subset::default(),
        source: DatasetSource::SafeTensors { file: Digest::of(b"images") },
        examples: 3,
        classes: 2,
        image: ImageShape { channels: 1, height: 32, width: 32 },
        fit: Fit::Pad,
        frequencies: None,
    };
    let model = ModelSpec {
        backbone: Backbone::ResNet18W16,
        stem: Stem::Standard,
        width: None,
        channels: 1,
        classes: 2,
        normalize: Normalize { mean: vec![0.5], std: vec![0.5] },
    };
    let attack = AttackConfig {
        method: AttackMethod::Fgsm,
        norm: Norm::Linf,
        eps: Some(0.1),
        target: None,
        early_stop: true,
        stop_at_interval: None,
    };
    TaskSpec::Attack(AttackSpec {
        dataset,
        model,
        weights: Weights::Scratch,
        attack,
        seed: 0,
        numerics: 1,
        shard: None,
        cascade: None,
    })
}

fn assigned(attempt: AttemptRef) -> Input {
    Input::Assigned(Box::new(Assignment {
        attempt,
        spec: spec(),
        inputs: BTreeMap::new(),
        files: BTreeMap::new(),
        resume_from: None,
        memory: MemoryPlan::default(),
        label: String::new(),
        place: Place::default(),
    }))
}

fn prepared(attempt: AttemptRef) -> Input {
    let execute = Execute {
        attempt,
        spec: spec(),
        files: BTreeMap::new(),
        data_dir: "/data".into(),
        task_artifacts: BTreeMap::new(),
        resume_from: None,
        output_dir: "/output".into(),
        memory: MemoryPlan::default(),
    };
    Input::Prepared { attempt, outcome: Ok(Box::new(execute)) }
}

fn finished(attempt: AttemptRef) -> Input {
    Input::Finished { attempt, result_path: "/output/result.json".into() }
}

fn failure(message: &str) -> Failure {
    Failure { class: FailureClass::Transient, message: message.to_owned() }
}

fn concluded(attempt: AttemptRef) -> Input {
    Input::Concluded { attempt, content: Content::Failed(failure("x")) }
}

fn cancelled(attempt: AttemptRef) -> Input {
    Input::Cancelled { attempt, reason: "by the user".to_owned() }
}

/// A machine of one slot whose executor, generation 1, runs the attempt.
fn running(attempt: AttemptRef) -> Attempts {
    let mut machine = Attempts::new(vec!["cpu".to_owned()]);
    machine.handle(Input::ExecutorReady { slot: 0, generation: 1 });
    assert!(matches!(machine.handle(assigned(attempt))[..], [Action::Prepare(_)]));
    assert!(matches!(machine.handle(prepared(attempt))[..], [Action::Execute { slot: 0, generation: 1, .. }]));
    machine
}

fn handed_back(actions: &[Action]) -> Option<&str> {
    match actions {
        [Action::Report { content: Content::HandedBack(message), .. }] => Some(message),
        _ => None,
    }
}

#[test]
fn an_attempt_whose_inputs_are_there_first_waits_for_its_executor() {
    let one = attempt(1, 1);
    let mut machine = Attempts::new(vec!["cpu".to_owned()]);
    machine.handle(assigned(one));
    assert_eq!(machine.handle(prepared(one)), []);
    let actions = machine.handle(Input::ExecutorReady { slot: 0, generation: 7 });
    assert!(matches!(actions[..], [Action::Execute { generation: 7, .. }]));
}

#[test]
fn the_same_assignment_twice_is_one() {
    let mut machine = running(attempt(1, 2));
    assert_eq!(machine.handle(assigned(attempt(1, 2))), []);
    assert_eq!(machine.handle(assigned(attempt(1, 1))), [], "an echo of an earlier attempt");
}

#[test]
fn a_newer_attempt_of_the_same_task_takes_the_place_of_the_older() {
    let mut machine = running(attempt(1, 1));
    let actions = machine.handle(assigned(attempt(1, 2)));
    assert!(matches!(
        actions[..],
        [Action::ReplaceExecutor { slot: 0, generation: 1 }, Action::Abandon { .. }, Action::Prepare(_)]
    ));
    assert_eq!(machine.running(), BTreeSet::from([attempt(1, 2)]));
}

#[test]
fn work_beyond_the_slots_is_handed_back() {
    let mut machine = running(attempt(1, 1));
    assert_eq!(handed_back(&machine.handle(assigned(attempt(2, 1)))), Some("the worker has no free slot"));
}

#[test]
fn a_worker_that_drains_or_cannot_spool_takes_nothing_new() {
    let mut machine = Attempts::new(vec!["cpu".to_owned()]);
    machine.handle(Input::Spooling { trouble: Some("no space left on device".to_owned()) });
    let actions = machine.handle(assigned(attempt(1, 1)));
    assert_eq!(handed_back(&actions), Some("the worker cannot write to its spool: no space left on device"));
    machine.handle(Input::Spooling { trouble: None });
    machine.handle(Input::Drain);
    assert_eq!(handed_back(&machine.handle(assigned(attempt(1, 2)))), Some("the worker takes no new work"));
}

#[test]
fn a_lost_executor_fails_the_attempt_that_it_ran_and_no_other() {
    let one = attempt(1, 1);
    let mut machine = running(one);
    let lost = |generation| Input::ExecutorLost { slot: 0, generation, failure: failure("killed by signal 9") };
    assert_eq!(machine.handle(lost(0)), [], "one that had been replaced before");
    let ending = Ending::Failed(failure("killed by signal 9"));
    assert_eq!(machine.handle(lost(1)), [Action::Conclude { attempt: one, ending }]);
    assert!(matches!(machine.handle(concluded(one))[..], [Action::Report { .. }]));
    machine.handle(Input::ExecutorReady { slot: 0, generation: 2 });
    machine.handle(assigned(attempt(2, 1)));
    assert!(matches!(machine.handle(prepared(attempt(2, 1)))[..], [Action::Execute { generation: 2, .. }]));
}

#[test]
fn an_executor_that_dies_after_it_finished_costs_nothing() {
    let one = attempt(1, 1);
    let mut machine = running(one);
    assert!(matches!(machine.handle(finished(one))[..], [Action::Conclude { ending: Ending::Finished(_), .. }]));
    assert_eq!(machine.handle(Input::ExecutorLost { slot: 0, generation: 1, failure: failure("") }), []);
}

#[test]
fn what_a_cancelled_attempt_still_says_is_not_heard() {
    let one = attempt(1, 1);
    let mut machine = running(one);
    assert!(matches!(machine.handle(cancelled(one))[..], [Action::ReplaceExecutor { .. }, Action::Abandon { .. }]));
    assert_eq!(machine.handle(finished(one)), []);
    assert_eq!(machine.handle(concluded(one)), []);
    assert_eq!(machine.handle(Input::Failed { attempt: one, failure: failure("late") }), []);
    assert!(machine.is_empty());
}

#[test]
fn a_lost_lease_stops_everything_without_a_word() {
    let mut machine = running(attempt(1, 1));
    let actions = machine.handle(Input::LeaseExpired);
    assert!(matches!(actions[..], [Action::ReplaceExecutor { .. }, Action::Abandon { .. }]));
    assert!(machine.is_empty());
}

#[test]
fn a_shutdown_hands_everything_back_and_takes_nothing_new() {
    let mut machine = running(attempt(1, 1));
    let actions = machine.handle(Input::Shutdown { reason: "the worker leaves at once".to_owned() });
    assert!(matches!(actions[0], Action::ReplaceExecutor { .. }));
    assert_eq!(handed_back(&actions[1..]), Some("the worker leaves at once"));
    assert!(machine.is_draining() && machine.is_empty());
}

fn hand_back(attempt: AttemptRef) -> Input {
    Input::HandBack { attempt, reason: "a more urgent task needs the slot".to_owned() }
}

#[test]
fn what_runs_is_asked_to_yield_once_and_handed_back_after_its_checkpoint_is_stored() {
    let one = attempt(1, 1);
    let mut machine = running(one);
    let asked = Action::AskToYield { slot: 0, generation: 1, attempt: one };
    assert_eq!(machine.handle(hand_back(one)), [asked]);
    assert_eq!(machine.handle(Input::HandBackAll { reason: "SIGTERM".to_owned() }), [], "it is asked already");
    let written = Input::CheckpointWritten { attempt: one, path: "/output/c".into(), epoch: 3 };
    assert!(matches!(machine.handle(written)[..], [Action::StoreCheckpoint { epoch: 3, .. }]));
    let ending = Ending::HandedBack("a more urgent task needs the slot".to_owned());
    assert_eq!(machine.handle(Input::Yielded { attempt: one }), [Action::Conclude { attempt: one, ending }]);
    assert_eq!(machine.handle(Input::Overdue { attempt: one }), [], "its executor is idle");
    assert!(!machine.is_empty(), "the slot is taken until the checkpoint is stored");
}

#[test]
fn what_has_not_begun_is_handed_back_at_once_and_what_is_about_to_end_ends() {
    let (one, two) = (attempt(1, 1), attempt(2, 1));
    let mut machine = running(one);
    assert!(matches!(machine.handle(finished(one))[..], [Action::Conclude { .. }]));
    assert_eq!(machine.handle(hand_back(one)), []);
    let mut waiting = Attempts::new(vec!["cpu".to_owned()]);
    waiting.handle(assigned(two));
    assert_eq!(handed_back(&waiting.handle(hand_back(two))), Some("a more urgent task needs the slot"));
    assert!(waiting.is_empty());
    assert_eq!(waiting.handle(hand_back(two)), [], "of an attempt that is over nothing is to be handed back");
}

#[test]
fn an_attempt_that_is_meant_for_a_device_gets_a_slot_there_or_none() {
    let on = |task, device: &str| {
        let place = Place { device: Some(device.to_owned()), memory_mib: 4000 };
        let Input::Assigned(assignment) = assigned(attempt(task, 1)) else { unreachable!() };
        Input::Assigned(Box::new(Assignment { place, ..*assignment }))
    };
    let mut machine = Attempts::new(["cuda:0", "cuda:1", "cuda:0", "cuda:1"].map(str::to_owned).into());
    for task in [1, 2] {
        assert!(matches!(machine.handle(on(task, "cuda:1"))[..], [Action::Prepare(_)]));
    }
    assert_eq!(machine.place(attempt(1, 1)).map(|place| place.memory_mib), Some(4000));
    assert_eq!(handed_back(&machine.handle(on(3, "cuda:1"))), Some("the worker has no free slot on cuda:1"));
    assert!(matches!(machine.handle(on(3, "cuda:0"))[..], [Action::Prepare(_)]));
    assert!(matches!(machine.handle(assigned(attempt(4, 1)))[..], [Action::Prepare(_)]), "one slot is left for any");
}

#[test]
fn what_does_not_yield_in_time_is_stopped_and_still_handed_back() {
    let one = attempt(1, 1);
    let mut machine = running(one);
    assert_eq!(machine.handle(Input::Overdue { attempt: one }), [], "nobody has asked it");
    machine.handle(hand_back(one));
    let actions = machine.handle(Input::Overdue { attempt: one });
    let [Action::ReplaceExecutor { generation: 1, .. }, Action::Conclude { ending: Ending::HandedBack(reason), .. }] =
        &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert!(reason.starts_with("a more urgent task needs the slot; it did not stop in time"), "{reason}");
}

#[test]
fn an_attempt_that_crashes_while_it_yields_has_crashed() {
    let one = attempt(1, 1);
    let mut machine = running(one);
    machine.handle(hand_back(one));
    let crash = Failure { class: FailureClass::Crash, message: "killed by signal 6".to_owned() };
    let lost = Input::ExecutorLost { slot: 0, generation: 1, failure: crash.clone() };
    assert_eq!(machine.handle(lost), [Action::Conclude { attempt: one, ending: Ending::Failed(crash) }]);
}

fn any_input() -> impl Strategy<Value = Input> {
    let any_attempt = || (0u8..4, 1u32..4).prop_map(|(task, number)| attempt(task, number));
    let any_slot = || (0usize..2, 0u64..6);
    let any_failure = || Just(failure("x"));
    prop_oneof![
        6 => any_attempt().prop_map(assigned),
        6 => any_attempt().prop_map(prepared),
        1 => (any_attempt(), any_failure()).prop_map(|(attempt, failure)| Input::Prepared { attempt, outcome: Err(failure) }),
        6 => any_slot().prop_map(|(slot, generation)| Input::ExecutorReady { slot, generation }),
        2 => any_slot().prop_map(|(slot, generation)| Input::ExecutorLost { slot, generation, failure: failure("") }),
        1 => any_slot().prop_map(|(slot, _)| Input::ExecutorFailedToStart { slot, message: String::new() }),
        3 => any_attempt().prop_map(finished),
        2 => (any_attempt(), any_failure()).prop_map(|(attempt, failure)| Input::Failed { attempt, failure }),
        4 => any_attempt().prop_map(concluded),
        2 => any_attempt().prop_map(cancelled),
        1 => any_attempt().prop_map(|attempt| Input::Disowned { attempt, reason: String::new() }),
        2 => any_attempt().prop_map(hand_back),
        2 => any_attempt().prop_map(|attempt| Input::Yielded { attempt }),
        1 => any_attempt().prop_map(|attempt| Input::Overdue { attempt }),
        1 => Just(Input::LeaseExpired),
        1 => any::<bool>().prop_map(|sick| Input::Spooling { trouble: sick.then(String::new) }),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_an_attempt_ends_at_most_once_and_a_slot_runs_at_most_one(inputs in prop::collection::vec(any_input(), 0..80)) {
        let mut machine = Attempts::new(vec!["cpu".to_owned(); 2]);
        let mut begun = BTreeSet::new();
        for input in inputs {
            for action in machine.handle(input) {
                match action {
                    Action::Prepare(assignment) => prop_assert!(begun.insert(assignment.attempt), "begun while it runs"),
                    // Of what was refused as of what was begun and goes back.
                    Action::Report { attempt, content: Content::HandedBack(_) } => { begun.remove(&attempt); }
                    // A process that is gone meanwhile does not hear it.
                    Action::AskToYield { attempt, .. } => prop_assert!(begun.contains(&attempt)),
                    Action::Report { attempt, .. } => prop_assert!(begun.remove(&attempt), "ended twice, or without a beginning"),
                    Action::Abandon { attempt, .. } => { begun.remove(&attempt); }
                    Action::Execute { slot, generation, execute } => {
                        prop_assert_eq!(machine.executors[slot], Some(generation), "given to a process that is not up");
                        prop_assert!(begun.contains(&execute.attempt));
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(&machine.running(), &begun, "nothing is forgotten without a word");
            let slots: BTreeSet<usize> = machine.running.values().map(|attempt| attempt.slot).collect();
            prop_assert_eq!(slots.len(), machine.running.len());
            for attempt in machine.running.values() {
                let waits = matches!(attempt.phase, Phase::Waiting(_));
                prop_assert!(!(waits && machine.executors[attempt.slot].is_some()), "waits although its executor is up");
            }
        }
    }
}
