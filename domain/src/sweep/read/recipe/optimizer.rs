//! `optimizer = { … }`.

use crate::catalogue::defaults;
use crate::experiment::Optimizer;
use crate::sweep::field::NumberRange;
use crate::sweep::table::Table;

const SGD_KEYS: [&str; 2] = ["momentum", "nesterov"];
const ADAM_KEYS: [&str; 2] = ["betas", "epsilon"];

#[derive(Clone, Copy)]
enum Kind {
    Sgd,
    Adam,
    AdamW,
}

/// What `optimizer` says.
pub(super) struct OptimizerKeys {
    pub(super) rule: Optimizer,
    /// Learning rate of the head, if it has one of its own.
    pub(super) head_learning_rate: Option<f64>,
    /// Whether biases and normalisations decay too.
    pub(super) decay_norm_and_bias: bool,
}

/// Reads the optimiser.
pub(super) fn optimizer(table: &mut Table<'_>) -> Option<OptimizerKeys> {
    let rule = Optimizer::Adam {
        learning_rate: defaults::ADAM_LEARNING_RATE,
        weight_decay: defaults::WEIGHT_DECAY,
        betas: defaults::BETAS,
        epsilon: defaults::EPSILON,
    };
    let Some(field) = table.field("optimizer") else {
        let decay_norm_and_bias = defaults::DECAY_NORM_AND_BIAS;
        return Some(OptimizerKeys { rule, head_learning_rate: None, decay_norm_and_bias });
    };
    let mut table = field.table("{ kind = \"sgd\", \"adam\" or \"adamw\", learning_rate = … }")?;
    let kind = table.required("kind", "kind = \"sgd\", kind = \"adam\" or kind = \"adamw\"");
    let kinds = [("sgd", Kind::Sgd), ("adam", Kind::Adam), ("adamw", Kind::AdamW)];
    let decay_norm_and_bias = table.boolean("decay_norm_and_bias", defaults::DECAY_NORM_AND_BIAS);
    let rule = match kind.and_then(|field| field.one_of("optimizer", &kinds)) {
        None => {
            table.accept_all();
            None
        }
        Some(Kind::Sgd) => sgd(&mut table),
        Some(Kind::Adam) => {
            let (learning_rate, weight_decay) = rates(&mut table, defaults::ADAM_LEARNING_RATE, defaults::WEIGHT_DECAY);
            let (betas, epsilon) = moments(&mut table);
            Some(Optimizer::Adam { learning_rate, weight_decay, betas, epsilon })
        }
        Some(Kind::AdamW) => {
            let (learning_rate, weight_decay) =
                rates(&mut table, defaults::ADAMW_LEARNING_RATE, defaults::ADAMW_WEIGHT_DECAY);
            let (betas, epsilon) = moments(&mut table);
            Some(Optimizer::AdamW { learning_rate, weight_decay, betas, epsilon })
        }
    };
    let head = table.field("head_learning_rate").map(|field| field.number(&NumberRange::above_zero()));
    table.finish();
    let head_learning_rate = match head {
        Some(head) => Some(head?),
        None => None,
    };
    Some(OptimizerKeys { rule: rule?, head_learning_rate, decay_norm_and_bias })
}

fn sgd(table: &mut Table<'_>) -> Option<Optimizer> {
    table.refuse(&ADAM_KEYS, "belongs to adam and adamw");
    let learning_rate = table.required("learning_rate", "for example: learning_rate = 0.1");
    let weight_decay = table.number("weight_decay", defaults::WEIGHT_DECAY, &NumberRange::of(0.0..));
    let momentum = table.number("momentum", defaults::MOMENTUM, &NumberRange::of(0.0..1.0));
    let nesterov = table.boolean("nesterov", false);
    if nesterov && momentum == 0.0 {
        table.report.mistake(&table.at, "nesterov needs a momentum above 0");
    }
    let learning_rate = learning_rate.and_then(|field| field.number(&NumberRange::above_zero()));
    learning_rate.map(|learning_rate| Optimizer::Sgd { learning_rate, momentum, nesterov, weight_decay })
}

/// Learning rate and weight decay, both of which have a default.
fn rates(table: &mut Table<'_>, learning_rate: f64, weight_decay: f64) -> (f64, f64) {
    let learning_rate = table.number("learning_rate", learning_rate, &NumberRange::above_zero());
    (learning_rate, table.number("weight_decay", weight_decay, &NumberRange::of(0.0..)))
}

fn moments(table: &mut Table<'_>) -> ([f64; 2], f64) {
    table.refuse(&SGD_KEYS, "belongs to sgd");
    let betas = table.field("betas").map(|field| {
        let expected = "a list of two numbers of at least 0 and below 1";
        let values = field.list(expected)?;
        let numbers: Option<Vec<f64>> = values.iter().map(|value| value.number(&NumberRange::of(0.0..1.0))).collect();
        <[f64; 2]>::try_from(numbers?).map_or_else(|_| field.expected(expected), Some)
    });
    let epsilon = table.number("epsilon", defaults::EPSILON, &NumberRange::above_zero());
    (betas.flatten().unwrap_or(defaults::BETAS), epsilon)
}
