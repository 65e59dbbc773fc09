//! The examples in play, and all that an attack may do to them.

use gauntlet_domain::experiment::{AttackConfig, AttackResult, Norm, TargetClass};
use tch::{Device, Kind, Tensor};

use super::ball::{Ball, lengths};
use super::oracle::{Answer, Loss, Oracle, View};
use super::outcomes::{Judgement, Table};
use super::template::Evaluated;
use crate::error::LabError;
use crate::examples::Batch;
use crate::models::{Model, Output};
use crate::random::{Purpose, Stream};

/// Examples that no try has fooled yet, the model that judges them, and the rules.
///
/// Everything an attack keeps per example lies in tensors whose first axis runs over the examples in play; [`Self::retire`] shortens them.
pub(super) struct Arena<'a> {
    oracle: Oracle<'a>,
    table: Table,
    rules: Rules,
    active: Active,
    /// Index in the split of row 0 of the table.
    start: u64,
    /// For each row of the table, whether a gradient was taken there.
    tried: Vec<bool>,
    zero_gradient_examples: u64,
}

/// What holds for the whole evaluation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) norm: Norm,
    /// Radius of the ball; none for a minimum-norm attack.
    pub(super) eps: Option<f64>,
    pub(super) target: Option<TargetClass>,
    pub(super) early_stop: bool,
    pub(super) seed: u64,
}

impl Rules {
    pub(super) const fn new(config: &AttackConfig, seed: u64) -> Self {
        let AttackConfig { norm, eps, target, early_stop, .. } = *config;
        Self { norm, eps, target, early_stop, seed }
    }
}

/// Examples attacked together.
struct Active {
    /// Unperturbed images, f32 \[n,C,H,W\].
    originals: Tensor,
    /// i64 \[n\].
    labels: Tensor,
    /// Classes to lead to, i64 \[n\].
    targets: Option<Tensor>,
    /// Indices in the split.
    examples: Vec<u64>,
    /// Rows of the table.
    slots: Vec<usize>,
}

/// Examples still in play between two tries.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Rows of the table.
    pub(super) slots: Vec<usize>,
    /// Classes to lead to, one for each, if the attack is targeted.
    targets: Vec<i64>,
}

impl Standing {
    pub(super) const fn len(&self) -> usize {
        self.slots.len()
    }

    /// `count` of them, from number `first` on.
    pub(super) fn part(&self, first: usize, count: usize) -> Self {
        let end = first + count;
        let targets = if self.targets.is_empty() { Vec::new() } else { self.targets[first..end].to_vec() };
        Self { slots: self.slots[first..end].to_vec(), targets }
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.slots.extend(others.slots);
        self.targets.extend(others.targets);
    }
}

impl Active {
    fn keep(&mut self, rows: &[i64]) -> tch::Result<()> {
        let index = index(rows, self.labels.device())?;
        self.originals = self.originals.f_index_select(0, &index)?;
        self.labels = self.labels.f_index_select(0, &index)?;
        if let Some(targets) = &mut self.targets {
            *targets = targets.f_index_select(0, &index)?;
        }
        self.examples = rows.iter().map(|row| self.examples[*row as usize]).collect();
        self.slots = rows.iter().map(|row| self.slots[*row as usize]).collect();
        Ok(())
    }
}

impl<'a> Arena<'a> {
    /// An arena for the examples from index `start` of the split on.
    pub(super) fn new(model: &'a Model, rules: Rules, start: u64, keep_images: bool) -> Self {
        let table = Table::new(rules.norm, start, keep_images);
        let none = Active {
            originals: Tensor::new(),
            labels: Tensor::new(),
            targets: None,
            examples: Vec::new(),
            slots: Vec::new(),
        };
        let (oracle, tried) = (Oracle::new(model), Vec::new());
        Self { oracle, table, rules, active: none, start, tried, zero_gradient_examples: 0 }
    }

    /// Judges the next examples of the split, `first` the index of the first, before any attack; gives those that the model gets right.
    pub(super) fn enter(&mut self, batch: &Batch, first: u64) -> Result<Standing, LabError> {
        let logits = self.oracle.clean(&batch.pixels)?;
        let clean = Judgement::of(&logits, &batch.labels)?;
        let slot = self.table.append_clean(batch, &clean)?;
        self.tried.resize(slot + batch.labels.size()[0] as usize, false);
        let right = rows_where(&clean.predictions.f_eq_tensor(&batch.labels)?)?;
        let mut targets = Vec::new();
        if let Some(choice) = self.rules.target {
            let all: Vec<i64> = Vec::try_from(self.targets(choice, &logits, &batch.labels, first)?)?;
            targets = right.iter().map(|row| all[*row as usize]).collect();
        }
        Ok(Standing { slots: right.iter().map(|row| slot + *row as usize).collect(), targets })
    }

    /// Brings examples into play: `batch` holds those of `standing`.
    pub(super) fn bring(&mut self, batch: Batch, standing: Standing) -> Result<(), LabError> {
        let Standing { slots, targets } = standing;
        let targets = match self.rules.target {
            Some(_) => Some(Tensor::f_from_slice(&targets)?.f_to_device(batch.labels.device())?),
            None => None,
        };
        let examples = slots.iter().map(|slot| self.start + *slot as u64).collect();
        self.active = Active { originals: batch.pixels, labels: batch.labels, targets, examples, slots };
        Ok(())
    }

    /// The same examples in play against another model, with all steps for each and the output kept.
    pub(super) fn on_another<'b>(&self, model: &'b Model) -> Result<Arena<'b>, LabError> {
        let Active { originals, labels, targets, examples, .. } = &self.active;
        let batch = Batch { pixels: originals.shallow_clone(), labels: labels.shallow_clone() };
        let mut other = Arena::with_all(model, Rules { early_stop: false, ..self.rules }, batch, examples.clone())?;
        other.active.targets = targets.as_ref().map(Tensor::shallow_clone);
        Ok(other)
    }

    /// An arena with all of a batch in play, `examples` their indices, whatever the model makes of them; the output is kept.
    pub(super) fn with_all(model: &'a Model, rules: Rules, batch: Batch, examples: Vec<u64>) -> Result<Self, LabError> {
        let mut arena = Self::new(model, rules, 0, true);
        let clean = Judgement::of(&arena.oracle.clean(&batch.pixels)?, &batch.labels)?;
        arena.table.append_clean(&batch, &clean)?;
        arena.tried = vec![false; examples.len()];
        let slots = (0..examples.len()).collect();
        arena.active = Active { originals: batch.pixels, labels: batch.labels, targets: None, examples, slots };
        Ok(arena)
    }

    /// Takes those that are still in play out of it.
    pub(super) fn withdraw(&mut self) -> Result<Standing, LabError> {
        let targets = match self.active.targets.take() {
            Some(targets) => Vec::try_from(targets)?,
            None => Vec::new(),
        };
        self.active.examples.clear();
        Ok(Standing { slots: std::mem::take(&mut self.active.slots), targets })
    }

    fn targets(&self, choice: TargetClass, logits: &Tensor, labels: &Tensor, first: u64) -> Result<Tensor, LabError> {
        let (count, classes) = logits.size2()?;
        let labels = labels.f_view([-1, 1])?;
        let chosen = match choice {
            TargetClass::LeastLikely => logits.f_scatter_value(1, &labels, f64::INFINITY)?.f_argmin(1, false)?,
            TargetClass::RunnerUp => logits.f_scatter_value(1, &labels, f64::NEG_INFINITY)?.f_argmax(1, false)?,
            TargetClass::Random => {
                let others = (classes - 1).max(1);
                let draw = |row| {
                    let purpose = Purpose::AttackTarget { example: first + row as u64 };
                    (f64::from(Stream::new(self.rules.seed, purpose).unit()) * others as f64) as i64
                };
                let draws: Vec<i64> = (0..count).map(draw).collect();
                let draws = Tensor::f_from_slice(&draws)?.f_to_device(logits.device())?;
                // Counted from the class after the true one.
                labels.f_view([-1])?.f_add(&draws)?.f_add_scalar(1)?.f_remainder(classes)?
            }
        };
        Ok(chosen)
    }

    /// How many examples are in play.
    pub(super) fn len(&self) -> usize {
        self.active.examples.len()
    }

    /// Whether none is.
    pub(super) fn is_empty(&self) -> bool {
        self.active.examples.is_empty()
    }

    /// Unperturbed images, f32 \[n,C,H,W\].
    pub(super) const fn originals(&self) -> &Tensor {
        &self.active.originals
    }

    /// True classes, i64 \[n\].
    pub(super) const fn labels(&self) -> &Tensor {
        &self.active.labels
    }

    /// Number of classes of the model.
    pub(super) const fn classes(&self) -> u32 {
        self.oracle.classes()
    }

    /// The wrong classes of the originals, those that the model ranks highest first; i64 \[n,classes − 1\].
    pub(super) fn wrong_classes(&mut self) -> Result<Tensor, LabError> {
        let logits = self.oracle.ask(&self.active.originals)?;
        let labels = self.active.labels.f_view([-1, 1])?;
        let (_, order) = logits.f_scatter_value(1, &labels, f64::INFINITY)?.f_sort(1, true)?;
        Ok(order.f_narrow(1, 1, order.size()[1] - 1)?)
    }

    /// Their indices in the split: what names their random streams.
    pub(super) fn examples(&self) -> &[u64] {
        &self.active.examples
    }

    /// The rules of the evaluation.
    pub(super) const fn rules(&self) -> Rules {
        self.rules
    }

    /// The ball around the originals.
    ///
    /// # Errors
    /// A minimum-norm evaluation has none.
    pub(super) fn ball(&self) -> Result<Ball, LabError> {
        let eps = self.rules.eps.ok_or_else(|| LabError::Spec("this attack needs an eps".to_owned()))?;
        Ok(Ball { norm: self.rules.norm, eps })
    }

    /// The points nearest to `points` that lie in the ball and in [0,1].
    pub(super) fn bound(&self, points: &Tensor) -> Result<Tensor, LabError> {
        Ok(self.ball()?.bound(points, &self.active.originals)?)
    }

    /// Cross-entropies of the labels, or, negated, of the target classes: what grows as the attack succeeds.
    ///
    /// It holds for the examples in play when it is made.
    pub(super) fn cross_entropy_loss(&self) -> impl Fn(&Output) -> tch::Result<Tensor> + use<> {
        let (labels, targets) =
            (self.active.labels.shallow_clone(), self.active.targets.as_ref().map(Tensor::shallow_clone));
        move |output: &Output| match &targets {
            None => cross_entropies(&output.logits, &labels),
            Some(targets) => cross_entropies(&output.logits, targets)?.f_neg(),
        }
    }

    /// Asks the model about points of the examples in play, f32 \[n,C,H,W\].
    pub(super) fn ask(&mut self, points: &Tensor) -> Result<Answer, LabError> {
        let logits = self.oracle.ask(points)?;
        self.answer(points, logits)
    }

    /// Penultimate features of the originals, f32 \[n,F\].
    pub(super) fn original_features(&mut self) -> Result<Tensor, LabError> {
        self.oracle.features(&self.active.originals)
    }

    /// Asks for the gradients of the sum of `loss` by the points too.
    ///
    /// `loss` gives f32 \[n\], one value per example; where early stopping leaves nobody in play there is no gradient.
    pub(super) fn ask_gradient(&mut self, points: &Tensor, loss: Loss<'_>) -> Result<Answer, LabError> {
        let pass = self.oracle.pass(points)?;
        let mut answer = self.answer(points, pass.logits())?;
        if !answer.stay.is_empty() {
            let (losses, gradient) = self.oracle.gradient(pass, loss, answer.stay.len())?;
            self.count_zeros(&gradient, &answer.stay)?;
            (answer.losses, answer.gradient) = (Some(losses), Some(gradient));
        }
        Ok(answer)
    }

    /// Asks for the values of `loss` alone.
    pub(super) fn ask_losses(&mut self, points: &Tensor, loss: Loss<'_>) -> Result<Answer, LabError> {
        let (logits, losses) = self.oracle.losses(points, loss)?;
        Ok(Answer { losses: Some(losses), ..self.answer(points, logits)? })
    }

    /// Like [`Self::ask_losses`], but nobody is judged, so that the points may lie outside the ball.
    pub(super) fn explore_losses(&mut self, points: &Tensor, loss: Loss<'_>) -> Result<Answer, LabError> {
        let (logits, losses) = self.oracle.losses(points, loss)?;
        Ok(Answer { losses: Some(losses), ..self.unjudged(logits)? })
    }

    /// Gradients of `loss` at what `view` shows of the points, by the points. Nobody is judged.
    pub(super) fn explore_gradient(
        &mut self,
        points: &Tensor,
        view: View<'_>,
        loss: Loss<'_>,
    ) -> Result<Answer, LabError> {
        let pass = self.oracle.pass_through(points, view)?;
        let answer = self.unjudged(pass.logits())?;
        let (losses, gradient) = self.oracle.gradient(pass, loss, self.len())?;
        self.count_zeros(&gradient, &answer.stay)?;
        Ok(Answer { losses: Some(losses), gradient: Some(gradient), ..answer })
    }

    fn unjudged(&self, logits: Tensor) -> tch::Result<Answer> {
        let fooled = self.active.labels.f_zeros_like()?.f_to_kind(Kind::Bool)?;
        Ok(Answer { logits, losses: None, gradient: None, fooled, stay: self.all() })
    }

    /// Looks at the gradients, f32 \[n,C,H,W\], that an attack took by itself at points of all examples in play.
    pub(super) fn took_gradient(&mut self, gradient: &Tensor) -> Result<(), LabError> {
        self.count_zeros(gradient, &self.all())
    }

    /// Counts first gradients of nothing but zeros; those of examples that leave are not used and not looked at.
    fn count_zeros(&mut self, gradient: &Tensor, stay: &[i64]) -> Result<(), LabError> {
        let slots = &self.active.slots;
        let untried: Vec<usize> = stay.iter().map(|row| *row as usize).filter(|row| !self.tried[slots[*row]]).collect();
        if !untried.is_empty() {
            let zero: Vec<bool> = Vec::try_from(lengths(gradient, Norm::Linf)?.f_eq(0.0)?)?;
            self.zero_gradient_examples += untried.iter().filter(|row| zero[**row]).count() as u64;
            untried.iter().for_each(|row| self.tried[slots[*row]] = true);
        }
        Ok(())
    }

    fn answer(&mut self, points: &Tensor, logits: Tensor) -> Result<Answer, LabError> {
        let judgement = Judgement::of(&logits, &self.active.labels)?;
        let fooled = self.fooled(&judgement.predictions)?;
        let stay = if self.rules.early_stop { rows_where(&fooled.f_logical_not()?)? } else { self.all() };
        if stay.len() < self.len() {
            self.table.note(&self.active.slots, points, &self.active.originals, &judgement)?;
        }
        Ok(Answer { logits, losses: None, gradient: None, fooled, stay })
    }

    /// Whether predictions, i64 \[n\], are what the attack wants; bool \[n\].
    pub(super) fn fooled(&self, predictions: &Tensor) -> tch::Result<Tensor> {
        match &self.active.targets {
            None => predictions.f_ne_tensor(&self.active.labels),
            Some(targets) => predictions.f_eq_tensor(targets),
        }
    }

    /// With early stopping, takes the examples that the answered points fool out of play, and their rows out of the answer and of `state`. Says whether
    /// any are left.
    pub(super) fn retire(&mut self, answer: &mut Answer, state: &mut [&mut Tensor]) -> Result<bool, LabError> {
        let stay = std::mem::take(&mut answer.stay);
        if stay.len() < self.len() {
            let index = index(&stay, self.active.labels.device())?;
            let own =
                [Some(&mut answer.logits), Some(&mut answer.fooled), answer.losses.as_mut(), answer.gradient.as_mut()];
            for tensor in own.into_iter().flatten().chain(state.iter_mut().map(|tensor| &mut **tensor)) {
                *tensor = tensor.f_index_select(0, &index)?;
            }
            self.active.keep(&stay)?;
        }
        Ok(!self.is_empty())
    }

    /// Ends a try in the ball: the points are judged, noted, and the examples they fool leave.
    pub(super) fn conclude(&mut self, points: &Tensor) -> Result<(), LabError> {
        if self.is_empty() {
            return Ok(());
        }
        let logits = self.oracle.ask(points)?;
        let judgement = Judgement::of(&logits, &self.active.labels)?;
        self.table.note(&self.active.slots, points, &self.active.originals, &judgement)?;
        let stay = rows_where(&self.fooled(&judgement.predictions)?.f_logical_not()?)?;
        Ok(self.active.keep(&stay)?)
    }

    /// Ends a try that looked for the nearest points that fool. Those that are nearer than what was found before are noted, and nobody leaves; with a
    /// ball, as part of an ensemble, those that lie in it are noted and leave.
    pub(super) fn conclude_nearest(&mut self, points: &Tensor) -> Result<(), LabError> {
        if self.is_empty() {
            return Ok(());
        }
        let logits = self.oracle.ask(points)?;
        let judgement = Judgement::of(&logits, &self.active.labels)?;
        let fooled = self.fooled(&judgement.predictions)?;
        if let Some(eps) = self.rules.eps {
            let distances = lengths(&points.f_sub(&self.active.originals)?, self.rules.norm)?;
            let found = fooled.f_logical_and(&distances.f_le(eps)?)?;
            return self.leave(points, &logits, &found).map(|_stay| ());
        }
        self.table.note_nearest(&self.active.slots, points, &self.active.originals, &judgement, &fooled)
    }

    /// Notes the points of the rows where `found`, bool \[n\], says that they fool and lie in the ball, `logits` being what the model says about the
    /// points, and takes these examples out of play. Gives the rows that stay, i64 \[m\]; none if all do.
    pub(super) fn leave(
        &mut self,
        points: &Tensor,
        logits: &Tensor,
        found: &Tensor,
    ) -> Result<Option<Tensor>, LabError> {
        let leaving = rows_where(found)?;
        if leaving.is_empty() {
            return Ok(None);
        }
        let rows = index(&leaving, self.active.labels.device())?;
        let [points, logits, originals, labels] = [points, logits, &self.active.originals, &self.active.labels]
            .map(|rows_of| rows_of.f_index_select(0, &rows));
        let slots: Vec<usize> = leaving.iter().map(|row| self.active.slots[*row as usize]).collect();
        self.table.note(&slots, &points?, &originals?, &Judgement::of(&logits?, &labels?)?)?;
        let stay = rows_where(&found.f_logical_not()?)?;
        self.active.keep(&stay)?;
        Ok(Some(index(&stay, self.active.labels.device())?))
    }

    /// Lengths of the shortest perturbations found so far that fool the examples in play; +∞ where none was found.
    pub(super) fn shortest(&self) -> Vec<f32> {
        self.table.shortest(&self.active.slots)
    }

    /// The model, for an attack that keeps a set of active rows of its own.
    pub(super) const fn oracle(&mut self) -> &mut Oracle<'a> {
        &mut self.oracle
    }

    /// Classes to lead to, i64 \[n\], if the attack is targeted.
    pub(super) const fn goals(&self) -> Option<&Tensor> {
        self.active.targets.as_ref()
    }

    fn all(&self) -> Vec<i64> {
        (0..self.len() as i64).collect()
    }

    /// What the evaluation came to.
    pub(super) fn finish(self) -> Result<Evaluated, LabError> {
        let (model_queries, zero_gradient_examples) = (self.oracle.queries(), self.zero_gradient_examples);
        let (outcomes, images) = self.table.finish()?;
        Ok(Evaluated { result: AttackResult { outcomes, model_queries, zero_gradient_examples }, images })
    }
}

/// Numbers of the rows where `mask`, bool \[n\], holds.
pub(super) fn rows_where(mask: &Tensor) -> Result<Vec<i64>, LabError> {
    let holds: Vec<bool> = Vec::try_from(mask)?;
    Ok(holds.iter().enumerate().filter(|(_, holds)| **holds).map(|(row, _)| row as i64).collect())
}

pub(super) fn index(rows: &[i64], device: Device) -> tch::Result<Tensor> {
    Tensor::f_from_slice(rows)?.f_to_device(device)
}

pub(super) fn cross_entropies(logits: &Tensor, labels: &Tensor) -> tch::Result<Tensor> {
    logits.f_cross_entropy_loss(labels, None::<&Tensor>, tch::Reduction::None, -100, 0.0)
}
