//! What a method minimises.

use super::inner::{InnerDefaults, inner, refuse_clean_start};
use super::method::Method;
use crate::catalogue::defaults;
use crate::experiment::{Objective, Start};
use crate::sweep::field::NumberRange;
use crate::sweep::table::Table;

const MOST_REPLAYS: u32 = 1_000;

/// Reads the objective of a method that trains.
pub(super) fn objective(table: &mut Table<'_>, method: Method, batch_size: u32) -> Option<Objective> {
    let above_zero = NumberRange::above_zero();
    match method {
        Method::None => None,
        Method::Standard | Method::LinearProbe | Method::LinearProbeThenFineTune => Some(Objective::Standard),
        Method::PgdAt | Method::RobustLinearInit => {
            let defaults = InnerDefaults::new(defaults::PGD_AT_STEPS, defaults::PGD_AT_STEP_OF_EPS, Start::Uniform);
            inner(table, &defaults).map(|inner| Objective::PgdAt { inner })
        }
        Method::FastAt => {
            let refused: (&[&str], &str) =
                (&["steps", "start"], "is fixed: `fast-at` takes one step from a random start");
            let defaults = InnerDefaults {
                refused: Some(refused),
                ..InnerDefaults::new(1, defaults::FAST_AT_STEP_OF_EPS, Start::Uniform)
            };
            inner(table, &defaults).map(|inner| Objective::FastAt { inner })
        }
        Method::FreeAt => {
            let replays = table.count("replays", defaults::FREE_AT_REPLAYS, 1, MOST_REPLAYS);
            let why = "does not go with `free-at`, whose perturbation is carried over and moves once for every step of the optimiser, in L∞";
            let refused: (&[&str], &str) = (&["norm", "steps", "start"], why);
            let defaults = InnerDefaults {
                refused: Some(refused),
                ..InnerDefaults::new(1, defaults::FREE_AT_STEP_OF_EPS, Start::Clean)
            };
            let inner = inner(table, &defaults)?;
            Some(Objective::FreeAt { eps: inner.eps, step_size: inner.step_size, replays })
        }
        Method::Trades => {
            let beta = table.number("beta", defaults::TRADES_BETA, &above_zero);
            refuse_clean_start(table, "trades", "divergence", "as published");
            inner(table, &published_start()).map(|inner| Objective::Trades { beta, inner })
        }
        Method::Mart => {
            let lambda = table.number("lambda", defaults::MART_LAMBDA, &above_zero);
            inner(table, &published_start()).map(|inner| Objective::Mart { lambda, inner })
        }
        Method::Dm => {
            let coefficient = coefficient(table, batch_size);
            let defaults = InnerDefaults {
                eps: defaults::DM_EPS.parse().ok(),
                ..InnerDefaults::new(defaults::DM_STEPS, defaults::DM_STEP_OF_EPS, Start::Gaussian)
            };
            refuse_clean_start(table, "dm", "distance", "the study");
            inner(table, &defaults).map(|inner| Objective::Dm { coefficient, inner })
        }
        Method::Twins => {
            let lambda = table.number("lambda", defaults::TWINS_LAMBDA, &above_zero);
            let defaults = InnerDefaults::new(defaults::TWINS_STEPS, defaults::TWINS_STEP_OF_EPS, Start::Uniform);
            inner(table, &defaults).map(|inner| Objective::Twins { lambda, inner })
        }
    }
}

/// The inner attack of the published code of TRADES and MART.
fn published_start() -> InnerDefaults {
    InnerDefaults::new(defaults::TRADES_STEPS, defaults::TRADES_STEP_OF_EPS, Start::Gaussian)
}

fn coefficient(table: &mut Table<'_>, batch_size: u32) -> f64 {
    let [coefficient, beta] = ["coefficient", "beta"].map(|key| table.field(key));
    let above_zero = NumberRange::above_zero();
    if let (Some(_), Some(beta)) = (&coefficient, &beta) {
        let message = "both `coefficient` and `beta` are given: say one";
        table.report.mistake_with_help(&beta.at, message, "coefficient = beta / batch_size");
    }
    let beta = beta.and_then(|field| field.number(&above_zero)).unwrap_or(defaults::DM_BETA);
    coefficient.and_then(|field| field.number(&above_zero)).unwrap_or(beta / f64::from(batch_size))
}
