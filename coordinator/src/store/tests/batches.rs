//! Reports that are stored together.

use std::collections::BTreeMap;

use gauntlet_domain::experiment::{ArtifactRef, AttackResult, EpochMetrics, Outcomes};
use gauntlet_domain::task::{Failure, FailureClass};
use gauntlet_domain::{Digest, TaskId};

use super::*;

/// Leases all that is ready to this worker.
pub async fn claim_all(store: &Store, worker: &str, session: i64) -> Vec<Claimed> {
    let worker: WorkerId = worker.parse().unwrap();
    let claim = |task: gauntlet_domain::schedule::ReadyTask| ClaimFor {
        task: task.id,
        worker: worker.clone(),
        session,
        queue: None,
        bounded: None,
    };
    let claims: Vec<ClaimFor> = ready(store, 1000).await.into_iter().map(claim).collect();
    store.claim(&claims).await.unwrap()
}

pub fn report(claim: &Claimed, content: Content) -> Report {
    Report {
        worker: claim.worker.clone(),
        attempt: claim.attempt,
        spec: claim.spec.clone(),
        content,
        peak_memory_mib: None,
        uploaded_after: None,
    }
}

/// The right kind of result for a claim.
pub fn result(claim: &Claimed) -> Content {
    if claim.spec_json.contains(r#""computes":"train""#) { trained() } else { attacked(4) }
}

fn trained() -> Content {
    Content::Trained(ArtifactRef { digest: Digest::of(b"weights"), size_bytes: 7 })
}

pub fn attacked(examples: usize) -> Content {
    let (label, clean, adversarial) = (vec![3; examples], vec![3; examples], (0..examples as u32).map(|i| 3 + i % 2));
    let outcomes = Outcomes {
        label,
        clean_prediction: clean,
        adversarial_prediction: adversarial.collect(),
        clean_loss: (0..examples).map(|i| i as f32).collect(),
        adversarial_loss: (0..examples).map(|i| i as f32 + 0.5).collect(),
        distance: vec![0.0; examples],
    };
    Content::Attacked(AttackResult { outcomes, model_queries: 8, zero_gradient_examples: 0 })
}

fn epoch(epoch: u32, train_loss: f64) -> Content {
    let (learning_rate, train_accuracy) = (0.1, 0.5);
    Content::Epoch(EpochMetrics { epoch, iterations: 1, learning_rate, train_loss, train_accuracy, validation: None })
}

async fn verdicts(store: &Store, reports: &[Report]) -> Vec<Verdict> {
    store.store_reports(&reports.iter().collect::<Vec<_>>()).await.unwrap().verdicts
}

async fn states(store: &Store, plan: &Plan) -> Vec<TaskState> {
    let ids: Vec<TaskId> = plan.tasks.iter().map(|task| task.id).collect();
    let states: BTreeMap<_, _> = store.task_states(&ids).await.unwrap();
    ids.iter().map(|id| states[id].0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_training_with_everything_said_twice_fits_into_one_batch() {
    let house = House::start().await;
    let plan = sweep_of(0..1, &["2/255"]);
    house.store.submit(&plan, "", &[], &Charge::default()).await.unwrap();
    let session = house.worker("w1").await;
    let claim = claim_all(&house.store, "w1", session).await.remove(0);
    let checkpoint = |epoch| {
        let artifact = ArtifactRef { digest: Digest::of(b"state"), size_bytes: 5 };
        Content::Checkpoint(TrainingCheckpoint { artifact, epoch })
    };
    let said = [epoch(1, 2.0), epoch(1, 1.0), checkpoint(1), epoch(2, 0.5), checkpoint(2), trained()];
    let twice = said.iter().chain(&said).map(|content| report(&claim, content.clone()));
    let reports: Vec<Report> = twice.chain([report(&claim, Content::HandedBack(String::new()))]).collect();
    let found = verdicts(&house.store, &reports).await;
    assert!(found[..12].iter().all(|verdict| *verdict == Verdict::Accepted), "{found:?}");
    assert_eq!(found[12], Verdict::Stale("attempt 1 is over: succeeded".to_owned()));
    assert_eq!(states(&house.store, &plan).await, [TaskState::Succeeded, TaskState::Ready]);
    let rows = sqlx::query_as::<_, (i64, i64, i64, f64)>(
        "select (select count(*) from attempts), (select count(*) from checkpoints), (select count(*) from training_checkpoints),
            (select sum(train_loss) from epoch_metrics)",
    );
    assert_eq!(rows.fetch_one(&house.store.pool).await.unwrap(), (1, 1, 0, 1.5), "an epoch's later numbers stand");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_report_of_a_batch_is_judged_by_itself() {
    let house = House::start().await;
    let plan = sweep_of(0..6, &["2/255"]);
    house.store.submit(&plan, "", &[], &Charge::default()).await.unwrap();
    let session = house.worker("w1").await;
    let claims = claim_all(&house.store, "w1", session).await;
    let failure = Failure { class: FailureClass::Transient, message: "the executor died".to_owned() };
    let zombie = Report { worker: "w2".parse().unwrap(), ..report(&claims[5], trained()) };
    let foreign = AttemptRef { task: TaskId::from_digest(Digest::of(b"nothing")), attempt: AttemptNumber(1) };
    let reports = [
        report(&claims[0], trained()),
        report(&claims[1], attacked(4)),
        report(&claims[2], Content::Failed(failure)),
        report(&claims[3], Content::HandedBack("the node leaves".to_owned())),
        report(&claims[4], Content::Nonsense("no content".to_owned())),
        zombie,
        Report { attempt: foreign, spec: None, ..report(&claims[0], trained()) },
        // The spec is asked of the database where nobody remembers it.
        Report { spec: None, ..report(&claims[5], trained()) },
    ];
    use Verdict::*;
    let found = verdicts(&house.store, &reports).await;
    assert!(
        matches!(found[..], [Accepted, Invalid(_), Accepted, Accepted, Invalid(_), Stale(_), Stale(_), Accepted]),
        "{found:?}"
    );
    let rows = sqlx::query_as::<_, (String, i64)>(
        "select outcome::text || coalesce(' ' || failure_class::text, '') || coalesce(': ' || left(message, 17), ''), count(*)
        from attempts group by 1 order by 1",
    );
    let ended: Vec<(String, i64)> = rows.fetch_all(&house.store.pool).await.unwrap();
    let ended: Vec<(&str, i64)> = ended.iter().map(|(how, count)| (how.as_str(), *count)).collect();
    assert_eq!(
        ended,
        [
            ("failed permanent: the worker's repo", 2),
            ("failed transient: the executor died", 1),
            ("handed-back: the node leaves", 1),
            ("succeeded", 2)
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_of_a_batch_stay_with_their_attacks() {
    let house = House::start().await;
    let plan = sweep_of(0..3, &["2/255", "4/255"]);
    house.store.submit(&plan, "", &[], &Charge::default()).await.unwrap();
    let session = house.worker("w1").await;
    let trainings = claim_all(&house.store, "w1", session).await;
    verdicts(&house.store, &trainings.iter().map(|claim| report(claim, trained())).collect::<Vec<_>>()).await;
    let attacks = claim_all(&house.store, "w1", session).await;
    assert_eq!(attacks.len(), 6);
    assert!(attacks.iter().all(|attack| attack.inputs.len() == 1));
    let marked = |(number, claim): (usize, &Claimed)| {
        let Content::Attacked(mut result) = attacked(4) else { panic!() };
        result.outcomes.clean_loss = vec![number as f32; 4];
        result.outcomes.adversarial_loss[3] = 100.0 + number as f32;
        report(claim, Content::Attacked(result))
    };
    let reports: Vec<Report> = attacks.iter().enumerate().map(marked).collect();
    assert!(verdicts(&house.store, &reports).await.iter().all(|verdict| *verdict == Verdict::Accepted));
    for (number, claim) in attacks.iter().enumerate() {
        let row = sqlx::query_as::<_, (Vec<f32>, Vec<f32>, i32, bool)>(
            "select clean_loss, adversarial_loss, robust_correct, minimum_norm from attack_results where task_id = $1",
        );
        let row = row.bind(claim.attempt.task.digest().as_bytes().to_vec()).fetch_one(&house.store.pool).await.unwrap();
        let number = number as f32;
        assert_eq!(row, (vec![number; 4], vec![0.5, 1.5, 2.5, 100.0 + number], 2, false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_sweeps_and_tasks_goes_with_them() {
    let house = House::start().await;
    let plan = sweep_of(0..2, &["2/255"]);
    house.store.submit(&plan, "", &[], &Charge::default()).await.unwrap();
    let session = house.worker("w1").await;
    for _ in 0..2 {
        let claims = claim_all(&house.store, "w1", session).await;
        verdicts(&house.store, &claims.iter().map(|it| report(it, result(it))).collect::<Vec<_>>()).await;
    }
    let left = async || {
        let query = "select (select count(*) from attempts), (select count(*) from attack_results),
            (select count(*) from sweep_tasks), (select count(*) from sweep_cells), (select count(*) from sweep_counts)";
        sqlx::query_as::<_, (i64, i64, i64, i64, i64)>(query).fetch_one(&house.store.pool).await.unwrap()
    };
    let before = left().await;
    assert!(before.4 > 0);
    assert_eq!((before.0, before.1, before.2, before.3), (4, 2, 4, 2));
    for statement in ["delete from sweeps", "delete from task_specs where kind = 'attack'"] {
        sqlx::query(statement).execute(&house.store.pool).await.unwrap();
    }
    assert_eq!(left().await, (2, 0, 0, 0, 0));
}
