//! Random streams, each named by what it is for.
//!
//! A stream is ChaCha8 seeded by the SHA-256 of the spec's seed, a purpose and coordinates such as an epoch or the index of an example. So a draw
//! never depends on how many came before it elsewhere: attack outcomes do not depend on the composition of batches, a resumed training goes on as if
//! nothing had happened, and the arms of a study that share a seed share the order of their data (common random numbers).

use std::fmt;

use gauntlet_domain::Digest;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// First values of the parameter of this name.
    Weights(&'a str),
    /// Order of the examples in an epoch (counted from 0).
    Shuffle {
        /// The epoch.
        epoch: u32,
    },
    /// Which examples are kept from training.
    HeldOut,
    /// Changes of one training image in one epoch.
    Augmentation {
        /// The epoch.
        epoch: u32,
        /// Index in the split.
        example: u64,
    },
    /// The mask of one layer's dropout in a training step.
    Dropout {
        /// The step, counted from 0.
        iteration: u32,
        /// The layer, counted as its network does.
        layer: u32,
    },
    /// The branches of one residual block that a training step leaves out.
    StochasticDepth {
        /// The step, counted from 0.
        iteration: u32,
        /// The block, counted as its network does.
        layer: u32,
    },
    /// Starting point of the attack on one image inside a training step (counted from 0).
    InnerStart {
        /// The step.
        iteration: u32,
        /// Index in the split.
        example: u64,
    },
    /// Seed of the random masks of one of several passes in a training step.
    Pass {
        /// The step.
        iteration: u32,
        /// The pass, counted from 0.
        pass: u32,
    },
    /// Starting point of an evaluation's attack, or a draw of random noise.
    AttackStart {
        /// Index in the split.
        example: u64,
        /// Restart or draw.
        number: u32,
    },
    /// Everything random in a try of the search by squares.
    Square {
        /// Index in the split.
        example: u64,
        /// Try.
        number: u32,
    },
    /// Order of the examples in a pass of the crafting of a universal perturbation.
    UniversalOrder {
        /// The pass, counted from 0.
        pass: u32,
    },
    /// How an attack's step (counted from 0) transforms what the model sees.
    InputDiversity {
        /// Index in the split.
        example: u64,
        /// The step.
        step: u32,
    },
    /// Class that a targeted attack leads to.
    AttackTarget {
        /// Index in the split.
        example: u64,
    },
    /// A direction without meaning, beside one that was looked for.
    Direction {
        /// Index in the split.
        example: u64,
    },
    /// Signs of a wave in the channels of an image.
    WaveSigns {
        /// Index in the split.
        example: u64,
        /// Vertical and horizontal frequency.
        frequency: [i64; 2],
    },
    /// Which example each image of a constructed data set starts from.
    ConstructionStart,
    /// Class that an image of a constructed data set is led to.
    ConstructionTarget {
        /// Index in the split.
        example: u64,
    },
    /// Everything random in the corruption of this name.
    Corruption {
        /// Index in the split.
        example: u64,
        /// The corruption.
        name: &'a str,
    },
}

impl fmt::Display for Purpose<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weights(name) => write!(f, "weights/{name}"),
            Self::Shuffle { epoch } => write!(f, "shuffle/{epoch}"),
            Self::HeldOut => f.write_str("held-out"),
            Self::Augmentation { epoch, example } => write!(f, "augmentation/{epoch}/{example}"),
            Self::Dropout { iteration, layer } => write!(f, "dropout/{iteration}/{layer}"),
            Self::StochasticDepth { iteration, layer } => write!(f, "stochastic-depth/{iteration}/{layer}"),
            Self::InnerStart { iteration, example } => write!(f, "inner-start/{iteration}/{example}"),
            Self::Pass { iteration, pass } => write!(f, "pass/{iteration}/{pass}"),
            Self::Square { example, number } => write!(f, "square/{example}/{number}"),
            Self::UniversalOrder { pass } => write!(f, "universal-order/{pass}"),
            Self::InputDiversity { example, step } => write!(f, "input-diversity/{example}/{step}"),
            Self::AttackTarget { example } => write!(f, "attack-target/{example}"),
            Self::Direction { example } => write!(f, "direction/{example}"),
            Self::WaveSigns { example, frequency: [vertical, horizontal] } => {
                write!(f, "wave-signs/{example}/{vertical}/{horizontal}")
            }
            Self::ConstructionStart => f.write_str("construction-start"),
            Self::ConstructionTarget { example } => write!(f, "construction-target/{example}"),
            Self::Corruption { example, name } => write!(f, "corruption/{example}/{name}"),
            Self::AttackStart { example, number } => write!(f, "attack-start/{example}/{number}"),
        }
    }
}

/// A stream of random numbers.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of this seed for this purpose.
    pub fn new(seed: u64, purpose: Purpose<'_>) -> Self {
        let name = format!("gauntlet/{seed}/{purpose}");
        Self(ChaCha8Rng::from_seed(*Digest::of(name.as_bytes()).as_bytes()))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in [0,1), a multiple of 2⁻²⁴.
    pub fn unit(&mut self) -> f32 {
        // By hand, so that the values outlive changes of the library's conversions.
        (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [−bound, bound).
    pub fn symmetric(&mut self, bound: f32) -> f32 {
        (2.0 * self.unit() - 1.0) * bound
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f32 {
        StandardNormal.sample(&mut self.0)
    }

    /// Uniform in −bound … bound, ends included.
    pub fn shift(&mut self, bound: u32) -> i64 {
        let choices = 2 * u64::from(bound) + 1;
        // 32 random bits over a few dozen choices: the bias is below 10⁻⁸.
        let choice = (u64::from(self.0.next_u32()) * choices) >> 32;
        choice as i64 - i64::from(bound)
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * f64::from(self.unit())
    }

    /// Uniform in 0 … `count` − 1, of a count above zero.
    pub fn below(&mut self, count: u32) -> u32 {
        // 32 random bits: for the few thousand places of a crop the bias is below 10⁻⁶.
        ((u64::from(self.0.next_u32()) * u64::from(count)) >> 32) as u32
    }

    /// True with probability one half.
    pub fn coin(&mut self) -> bool {
        self.0.next_u32() >> 31 == 1
    }

    /// These values in random order.
    pub fn into_order(mut self, values: &[i64]) -> Vec<i64> {
        let order = self.permutation(values.len());
        order.into_iter().map(|place| values[place as usize]).collect()
    }

    /// The numbers 0 … `count` − 1 in random order.
    pub fn permutation(&mut self, count: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..count as i64).collect();
        order.shuffle(&mut self.0);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_name_are_equal_and_of_two_names_are_not() {
        let draws = |seed, purpose| -> Vec<f32> {
            let mut stream = Stream::new(seed, purpose);
            (0..8).map(|_| stream.unit()).collect()
        };
        let start = |example| Purpose::AttackStart { example, number: 0 };
        assert_eq!(draws(1, start(5)), draws(1, start(5)));
        assert_ne!(draws(1, start(5)), draws(1, start(6)));
        assert_ne!(draws(1, start(5)), draws(2, start(5)));
    }

    #[test]
    fn draws_fill_their_range_evenly() {
        let mut stream = Stream::new(0, Purpose::Shuffle { epoch: 0 });
        let draws: Vec<f32> = (0..20_000).map(|_| stream.symmetric(2.0)).collect();
        assert!(draws.iter().all(|x| (-2.0..2.0).contains(x)));
        let mean = draws.iter().sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03, "{mean}");
        let mut counts = [0; 5];
        (0..20_000).for_each(|_| counts[(stream.shift(2) + 2) as usize] += 1);
        assert!(counts.iter().all(|count| (3_800..4_200).contains(count)), "{counts:?}");
    }
}
