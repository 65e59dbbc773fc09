//! Sweeps come in, are followed, stopped, tried again and read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gauntlet_domain::TaskId;
use gauntlet_domain::forecast::Estimate;
use gauntlet_domain::plan::Plan;
use gauntlet_domain::quota::precedence;
use gauntlet_domain::share::Terms;
use gauntlet_domain::task::TaskState;
use gauntlet_proto::convert;
use gauntlet_proto::v1;
use gauntlet_proto::v1::sweep_service_server::SweepService;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{streams, wire};
use crate::demands::Demands;
use crate::explain::{Before, Fleet, explain};
use crate::shared::Shared;
use crate::source::{Planned, plan};
use crate::status::Error;
use crate::store::{
    self, Charge, Contenders, Deletion, Foresight, Resolved, SweepStatus, TaskDetails, retry_conflicts,
};
use crate::time_left;

/// Sweeps listed where nothing else is asked for.
const LISTED: u32 = 100;
/// Most sweeps listed.
const MOST_LISTED: u32 = 1000;

/// The service about sweeps.
#[derive(Debug, Clone)]
pub struct Sweeps(pub Arc<Shared>);

impl Sweeps {
    fn noted<T>(&self, result: Result<T, store::Error>) -> Result<T, Error> {
        Ok(self.0.outage.note(result)?)
    }

    async fn resolve(&self, text: &str) -> Result<String, Error> {
        if text.is_empty() {
            return Err(Error::Invalid("field `sweep_id`: missing".to_owned()));
        }
        match self.noted(self.0.store.resolve_sweep(text).await)? {
            Resolved::One(id) => Ok(id),
            Resolved::Nothing => Err(Error::NotFound(format!("there is no sweep `{text}`"))),
            Resolved::Several(ids) => Err(ambiguous("sweep", text, &ids)),
        }
    }

    async fn status(&self, id: &str) -> Result<SweepStatus, Error> {
        let status = self.noted(self.0.store.sweep_status(id).await)?;
        status.ok_or_else(|| Error::NotFound(format!("there is no sweep `{id}`")))
    }

    async fn task(&self, text: &str) -> Result<TaskDetails, Error> {
        let unknown = || Error::NotFound(format!("there is no task `{text}`"));
        let beginning = text.to_ascii_lowercase();
        if beginning.is_empty() || beginning.len() > 64 || !beginning.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(Error::Invalid(format!("`{text}` is not a task: expected up to 64 hexadecimal digits")));
        }
        let id = match self.noted(self.0.store.resolve_task(&beginning).await)? {
            Resolved::One(id) => id,
            Resolved::Nothing => return Err(unknown()),
            Resolved::Several(ids) => return Err(ambiguous("task", text, &ids)),
        };
        self.noted(self.0.store.task_details(id).await)?.ok_or_else(unknown)
    }
}

/// Who is charged for a submission, on what terms, and where it may run.
fn charge(request: v1::SubmitSweepRequest) -> Result<Charge, Error> {
    let v1::SubmitSweepRequest { user, weight, priority, max_concurrent, no_max_concurrent, .. } = request;
    let v1::SubmitSweepRequest { required_labels, memory_mib, preempts, .. } = request;
    if memory_mib == Some(0) {
        return Err(convert::InvalidField::new("memory_mib", "expected 1 or more").into());
    }
    if let Some(label) = required_labels.keys().find(|key| key.is_empty()) {
        return Err(convert::InvalidField::new("required_labels", format!("`{label}` names no label")).into());
    }
    Ok(Charge {
        user: convert::user(&user)?,
        terms: Terms { preempts, ..convert::terms(weight, priority, max_concurrent, no_max_concurrent)? },
        required_labels: required_labels.into_iter().collect(),
        memory_mib,
    })
}

impl Sweeps {
    async fn before(&self, details: &TaskDetails) -> Result<Before, Error> {
        let tasks = self.noted(self.0.store.ahead_of(details.id, 1000).await)?;
        let Contenders { users, queues, .. } = self.noted(self.0.store.contenders(None).await)?;
        let precedence = details.charged.as_ref().and_then(|sweep| precedence(&users, &queues, sweep.queue));
        Ok(Before { tasks, precedence: precedence.unwrap_or_default() })
    }
}

fn ambiguous(what: &str, text: &str, candidates: &[impl std::fmt::Display]) -> Error {
    let mut names: Vec<String> = candidates.iter().take(10).map(ToString::to_string).collect();
    if candidates.len() > names.len() {
        names.push("…".to_owned());
    }
    Error::Precondition(format!("`{text}` may be any {what} of: {}; give more of its id", names.join(", ")))
}

#[tonic::async_trait]
impl SweepService for Sweeps {
    type WatchSweepStream = ReceiverStream<Result<v1::Sweep, Status>>;
    type StreamResultsStream = ReceiverStream<Result<v1::ResultRow, Status>>;
    type StreamAnalysesStream = ReceiverStream<Result<v1::AnalysisRow, Status>>;
    type StreamAnalysisImagesStream = ReceiverStream<Result<v1::AnalysisImageRow, Status>>;
    type StreamOutcomesStream = ReceiverStream<Result<v1::OutcomeBatch, Status>>;

    async fn plan_sweep(
        &self,
        request: Request<v1::PlanSweepRequest>,
    ) -> Result<Response<v1::PlanSweepResponse>, Status> {
        let Planned { plan, .. } = plan(request.into_inner().source).await?;
        let Foresight { forecast, slots } = self.noted(self.0.store.foresight().await)?;
        let sharded = self.noted(self.0.store.sharded(&plan, &forecast).await)?;
        let tasks = || plan.tasks.iter().chain(&sharded.tasks);
        let ids: Vec<_> = tasks().map(|task| task.id).collect();
        let states = self.noted(self.0.store.task_states(&ids).await)?;
        let state = |task: &TaskId| states.get(task).map(|(state, _)| *state);
        let over = |task: &TaskId| matches!(states.get(task), Some((TaskState::Succeeded, _) | (_, true)));
        let open = tasks().filter(|task| !over(&task.id));
        let open = open.map(|task| (task, sharded.inputs(task)));
        let estimate = Estimate::of(open, |task| sharded.merges(task), &forecast, slots as usize);
        Ok(Response::new(v1::PlanSweepResponse {
            estimate: Some(wire::estimate(&estimate, &forecast, slots)),
            shards: count(sharded.tasks.len()),
            sharded_attacks: count(sharded.by_attack.len()),
            ..planned(&plan, state)
        }))
    }

    async fn submit_sweep(
        &self,
        request: Request<v1::SubmitSweepRequest>,
    ) -> Result<Response<v1::SubmitSweepResponse>, Status> {
        let mut request = request.into_inner();
        let source = request.source.take();
        let charge = charge(request)?;
        let Planned { plan, toml, locations } = plan(source).await?;
        let submit = || self.0.store.submit(&plan, &toml, &locations, &charge);
        let submitted = self.noted(retry_conflicts(submit).await)?;
        let answer = v1::SubmitSweepResponse {
            sweep_id: plan.sweep_id.to_string(),
            tasks: count(submitted.tasks),
            shards: count(submitted.shards),
            sharded_attacks: count(submitted.sharded_attacks),
            new_tasks: count(submitted.new_tasks),
            retried_tasks: count(submitted.retried_tasks),
            done_tasks: count(submitted.done_tasks),
            paused: submitted.paused,
        };
        tracing::info!(
            sweep = answer.sweep_id,
            tasks = answer.tasks,
            new = answer.new_tasks,
            retried = answer.retried_tasks,
            done = answer.done_tasks,
            shards = answer.shards,
            cells = plan.cells.len(),
            "a sweep was submitted"
        );
        self.0.committed(&submitted.transitions);
        self.0.changed();
        Ok(Response::new(answer))
    }

    async fn get_sweep(&self, request: Request<v1::GetSweepRequest>) -> Result<Response<v1::Sweep>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        let status = self.status(&id).await?;
        let seconds_left = time_left::of(&self.0, &status).await.map_err(Error::from)?;
        Ok(Response::new(v1::Sweep { seconds_left, ..wire::sweep(&self.0, status) }))
    }

    async fn get_sweep_source(
        &self,
        request: Request<v1::GetSweepSourceRequest>,
    ) -> Result<Response<v1::GetSweepSourceResponse>, Status> {
        let sweep_id = self.resolve(&request.into_inner().sweep_id).await?;
        let toml = self.noted(self.0.store.sweep_source(&sweep_id).await)?;
        let toml = toml.ok_or_else(|| Error::NotFound(format!("there is no sweep `{sweep_id}`")))?;
        Ok(Response::new(v1::GetSweepSourceResponse { sweep_id, toml }))
    }

    async fn list_sweeps(
        &self,
        request: Request<v1::ListSweepsRequest>,
    ) -> Result<Response<v1::ListSweepsResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => LISTED,
            limit => limit.min(MOST_LISTED),
        };
        let sweeps = self.noted(self.0.store.latest_sweeps(limit).await)?;
        Ok(Response::new(v1::ListSweepsResponse {
            sweeps: sweeps.into_iter().map(|status| wire::sweep(&self.0, status)).collect(),
        }))
    }

    async fn watch_sweep(
        &self,
        request: Request<v1::WatchSweepRequest>,
    ) -> Result<Response<Self::WatchSweepStream>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        let first = self.status(&id).await?;
        Ok(Response::new(streams::watch(Arc::clone(&self.0), first)))
    }

    async fn cancel_sweep(&self, request: Request<v1::CancelSweepRequest>) -> Result<Response<v1::Sweep>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        let transitions = self.noted(retry_conflicts(|| self.0.store.cancel_sweep(&id)).await)?;
        tracing::info!(sweep = id, tasks = transitions.len(), "a sweep was cancelled");
        self.0.committed(&transitions);
        self.0.changed();
        Ok(Response::new(wire::sweep(&self.0, self.status(&id).await?)))
    }

    async fn delete_sweep(
        &self,
        request: Request<v1::DeleteSweepRequest>,
    ) -> Result<Response<v1::DeleteSweepResponse>, Status> {
        let v1::DeleteSweepRequest { sweep_id, cancel } = request.into_inner();
        let id = self.resolve(&sweep_id).await?;
        match self.noted(retry_conflicts(|| self.0.store.delete_sweep(&id, cancel)).await)? {
            Deletion::Deleted(transitions) => {
                tracing::info!(sweep = id, tasks = transitions.len(), "a sweep was deleted");
                self.0.committed(&transitions);
                self.0.changed();
                self.0.removal.notify_one();
                Ok(Response::new(v1::DeleteSweepResponse { sweep_id: id }))
            }
            Deletion::Unknown => Err(Error::NotFound(format!("there is no sweep `{id}`")).into()),
            Deletion::Unfinished(tasks) => {
                let problem = format!("sweep {id} has not ended: {tasks} of its tasks are unfinished; cancel it first");
                Err(Error::Precondition(problem).into())
            }
        }
    }

    async fn pause_sweep(&self, request: Request<v1::PauseSweepRequest>) -> Result<Response<v1::Sweep>, Status> {
        let v1::PauseSweepRequest { sweep_id, hand_back } = request.into_inner();
        let id = self.resolve(&sweep_id).await?;
        self.noted(retry_conflicts(|| self.0.store.pause_sweep(&id, hand_back)).await)?;
        tracing::info!(sweep = id, hand_back, "a sweep was paused");
        self.0.changed();
        Ok(Response::new(wire::sweep(&self.0, self.status(&id).await?)))
    }

    async fn resume_sweep(&self, request: Request<v1::ResumeSweepRequest>) -> Result<Response<v1::Sweep>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        self.noted(retry_conflicts(|| self.0.store.resume_sweep(&id)).await)?;
        tracing::info!(sweep = id, "a sweep goes on");
        self.0.changed();
        Ok(Response::new(wire::sweep(&self.0, self.status(&id).await?)))
    }

    async fn prioritize_sweep(
        &self,
        request: Request<v1::PrioritizeSweepRequest>,
    ) -> Result<Response<v1::Sweep>, Status> {
        let v1::PrioritizeSweepRequest { sweep_id, weight, priority, max_concurrent, no_max_concurrent } =
            request.into_inner();
        let terms = convert::terms(weight, priority, max_concurrent, no_max_concurrent).map_err(Error::from)?;
        let id = self.resolve(&sweep_id).await?;
        self.noted(self.0.store.change_terms(&id, &terms).await)?;
        tracing::info!(sweep = id, ?terms, "a sweep has other terms");
        self.0.changed();
        Ok(Response::new(wire::sweep(&self.0, self.status(&id).await?)))
    }

    async fn retry_sweep(
        &self,
        request: Request<v1::RetrySweepRequest>,
    ) -> Result<Response<v1::RetrySweepResponse>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        let transitions = self.noted(retry_conflicts(|| self.0.store.retry_sweep(&id)).await)?;
        tracing::info!(sweep = id, tasks = transitions.len(), "a sweep is tried again");
        self.0.committed(&transitions);
        self.0.changed();
        let paused = self.status(&id).await?.paused;
        Ok(Response::new(v1::RetrySweepResponse { retried_tasks: count(transitions.len()), paused }))
    }

    async fn stream_results(
        &self,
        request: Request<v1::StreamResultsRequest>,
    ) -> Result<Response<Self::StreamResultsStream>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        Ok(Response::new(streams::results(Arc::clone(&self.0), id)))
    }

    async fn stream_outcomes(
        &self,
        request: Request<v1::StreamOutcomesRequest>,
    ) -> Result<Response<Self::StreamOutcomesStream>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        Ok(Response::new(streams::outcomes(Arc::clone(&self.0), id)))
    }

    async fn stream_analyses(
        &self,
        request: Request<v1::StreamAnalysesRequest>,
    ) -> Result<Response<Self::StreamAnalysesStream>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        Ok(Response::new(streams::analyses(Arc::clone(&self.0), id)))
    }

    async fn stream_analysis_images(
        &self,
        request: Request<v1::StreamAnalysisImagesRequest>,
    ) -> Result<Response<Self::StreamAnalysisImagesStream>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        Ok(Response::new(streams::analysis_images(Arc::clone(&self.0), id)))
    }

    async fn list_skipped_evaluations(
        &self,
        request: Request<v1::ListSkippedEvaluationsRequest>,
    ) -> Result<Response<v1::ListSkippedEvaluationsResponse>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        let skipped = self.noted(self.0.store.skipped_evaluations(&id).await)?;
        Ok(Response::new(v1::ListSkippedEvaluationsResponse {
            evaluations: skipped.into_iter().map(Into::into).collect(),
        }))
    }

    async fn list_masking_warnings(
        &self,
        request: Request<v1::ListMaskingWarningsRequest>,
    ) -> Result<Response<v1::ListMaskingWarningsResponse>, Status> {
        let id = self.resolve(&request.into_inner().sweep_id).await?;
        let warnings = self.noted(self.0.store.masking_warnings(&id).await)?;
        Ok(Response::new(v1::ListMaskingWarningsResponse { warnings: warnings.into_iter().map(Into::into).collect() }))
    }

    async fn explain_task(
        &self,
        request: Request<v1::ExplainTaskRequest>,
    ) -> Result<Response<v1::ExplainTaskResponse>, Status> {
        let details = self.task(&request.into_inner().task_id).await?;
        let before = match details.task.state {
            TaskState::Ready => self.before(&details).await?,
            _ => Before::default(),
        };
        let (key, kinds) = (BTreeSet::from([details.demand]), self.0.sessions.device_kinds());
        let demands = Demands::default().of(&key, &kinds, Duration::ZERO, &self.0.store).await;
        let demand = self.noted(demands)?.remove(&details.demand).unwrap_or_default();
        let explanation = explain(&details, &before, &Fleet::of(&self.0, &details, &demand));
        Ok(Response::new(v1::ExplainTaskResponse {
            task_id: details.id.to_string(),
            kind: details.kind,
            label: details.label,
            state: details.task.state.name().to_owned(),
            explanation,
            spec_json: details.spec_json,
            attempts: details.attempts.into_iter().map(wire::attempt).collect(),
            sweeps: details.sweeps,
            inputs: details.inputs.into_iter().map(wire::input).collect(),
            min_memory_mib: details.min_memory_mib,
        }))
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn planned(plan: &Plan, state: impl Fn(&TaskId) -> Option<TaskState>) -> v1::PlanSweepResponse {
    let task = |task: &gauntlet_domain::plan::PlannedTask| v1::PlannedTask {
        task_id: task.id.to_string(),
        kind: task.kind.name().to_owned(),
        label: task.label.clone(),
        inputs: task.inputs.iter().map(ToString::to_string).collect(),
        state: state(&task.id).map(|state| state.name().to_owned()).unwrap_or_default(),
        cost: task.cost,
    };
    v1::PlanSweepResponse {
        tasks: plan.tasks.iter().map(task).collect(),
        cells: count(plan.cells.len()),
        sweep_id: plan.sweep_id.to_string(),
        name: plan.name.clone(),
        ..v1::PlanSweepResponse::default()
    }
}
