//! Attacks on a trained model.
//!
//! One [`template`] owns the rules: pixels stay in [0,1], perturbations in the ball, what counts as success, which examples are still
//! in play, how many queries were spent (the idea of Foolbox's base class). An attack meets them in an [`arena`], which it asks about points and from
//! which fooled examples retire, so that an evaluation costs what its survivors cost.
//!
//! The rules:
//! * The model is in eval mode, its parameters have no gradients. Attacks live in pixel space: normalisation belongs to the model.
//! * An example that the model gets wrong before any attack is not attacked: its adversarial prediction is the clean one, its distance 0.
//! * With `early_stop` an example is fooled as soon as any iterate fools it, **the (random) starting point included** (it is a legal perturbation;
//!   AutoAttack counts so too), and leaves the batch. Without, every step is done and the last iterate of each restart is judged, as torchattacks does.
//! * A targeted attack succeeds when the model says the target class. AAI stays the share that is right before and after.
//! * A minimum-norm attack has no ball: the nearest point that fools is its output, and an example that it never fools has an infinite distance.
//!   `early_stop` says there whether Carlini & Wagner's search may give up on a constant that makes no progress. With a ball, as a part of an ensemble,
//!   a minimum-norm attack fools what it finds in it, and leaves the output of all else as it was.
//! * Of several restarts (draws, for noise) the first that succeeds counts, and the example takes no part in the later ones.
//! * The output of an example that no try fooled is the last iterate of the last try (APGD: its point of the highest loss); the adversarial loss is
//!   taken there.
//! * Queries count one for each example and forward pass, and one for each example and backward pass whose gradient was used; the clean evaluation
//!   is not counted.
//! * Examples are attacked in blocks of 256, and nothing crosses the border of a block: an evaluation comes to the same bits in one piece, in shards, or
//!   resumed after any block.
//! * An evaluation with `stop_at_interval` stops at the border of the first block at which what it found so far suffices: whoever resumes it stops
//!   at the same one.
//! * Random starts belong to the example's index, not to its place in a batch. What the size of the batches changes is the rounding of the
//!   network's own kernels, so an example on the very edge of a decision may fall to either side of it.

mod apgd;
mod arena;
mod ascent;
mod autoattack;
mod ball;
mod boundary;
mod carlini_wagner;
mod climb;
mod deepfool;
mod diversity;
mod fab;
mod feature;
mod gradient;
mod hyperplane;
mod methods;
mod momentum;
mod objective;
mod oracle;
mod outcomes;
mod pace;
mod resume;
mod slope;
mod square;
mod template;
mod transfer;
mod universal;

pub(crate) use ascent::Ascent;
pub(crate) use ball::to_tensor;
pub use ball::{Ball, lengths};
pub use resume::{Resumable, Step, evaluate_resumably};
pub(crate) use slope::slope;
pub use template::{Aids, Blocks, Evaluated, Evaluation, evaluate, evaluate_range};
pub(crate) use universal::Crafting;
