//! `optimizer = { … }`.

use crate::catalogue::defaults;
use crate::experiment::Optimizer;
use crate::sweep::field::NumberRange;
use crate::sweep::table::Table;

/// Reads the optimiser, and the learning rate of the head if it has one of its own.
pub(super) fn optimizer(table: &mut Table<'_>) -> Option<(Optimizer, Option<f64>)> {
    let default = Optimizer::Adam { learning_rate: defaults::ADAM_LEARNING_RATE, weight_decay: defaults::WEIGHT_DECAY };
    let Some(field) = table.field("optimizer") else { return Some((default, None)) };
    let mut table = field.table("{ kind = \"sgd\" or \"adam\", learning_rate = … }")?;
    let kind = table.required("kind", "kind = \"sgd\" or kind = \"adam\"");
    let sgd = kind.and_then(|field| field.one_of("optimizer", &[("sgd", true), ("adam", false)]));
    let above_zero = NumberRange::above_zero();
    let weight_decay = table.number("weight_decay", defaults::WEIGHT_DECAY, &NumberRange::of(0.0..));
    let optimizer = match sgd {
        None => {
            table.accept_all();
            None
        }
        Some(true) => {
            let learning_rate = table.required("learning_rate", "for example: learning_rate = 0.1");
            let momentum = table.number("momentum", defaults::MOMENTUM, &NumberRange::of(0.0..1.0));
            let nesterov = table.boolean("nesterov", false);
            if nesterov && momentum == 0.0 {
                table.report.mistake(&table.at, "nesterov needs a momentum above 0");
            }
            let learning_rate = learning_rate.and_then(|field| field.number(&above_zero));
            learning_rate.map(|learning_rate| Optimizer::Sgd { learning_rate, momentum, nesterov, weight_decay })
        }
        Some(false) => {
            table.refuse(&["momentum", "nesterov"], "belongs to sgd");
            let learning_rate = table.number("learning_rate", defaults::ADAM_LEARNING_RATE, &above_zero);
            Some(Optimizer::Adam { learning_rate, weight_decay })
        }
    };
    let head = table.field("head_learning_rate").map(|field| field.number(&above_zero));
    table.finish();
    match head {
        Some(head) => Some((optimizer?, Some(head?))),
        None => Some((optimizer?, None)),
    }
}
