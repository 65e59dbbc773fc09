//! Keys about single steps: `micro_batch_size`, `gradient_clip`, `batch_norm_momentum`, `precision`, `ema`.

use std::ops::Bound;

use crate::catalogue::defaults;
use crate::experiment::{Ema, Precision};
use crate::sweep::field::NumberRange;
use crate::sweep::table::Table;

pub(super) fn micro_batch_size(table: &mut Table<'_>, batch_size: u32) -> Option<u32> {
    let micro = table.optional_count("micro_batch_size", 2, super::MOST_STEPS)?;
    if micro.value >= batch_size || !batch_size.is_multiple_of(micro.value) {
        let message = format!("`micro_batch_size` must be a proper divisor of `batch_size`, which is {batch_size}");
        table.report.mistake(&micro.at, message);
        return None;
    }
    Some(micro.value)
}

pub(super) fn gradient_clip(table: &mut Table<'_>) -> Option<f64> {
    table.field("gradient_clip").and_then(|field| field.number(&NumberRange::above_zero()))
}

pub(super) fn batch_norm_momentum(table: &mut Table<'_>) -> Option<f64> {
    let share = NumberRange::of((Bound::Excluded(0.0), Bound::Included(1.0)));
    table.field("batch_norm_momentum").and_then(|field| field.number(&share))
}

pub(super) fn precision(table: &mut Table<'_>) -> Precision {
    table.one_of("precision", Precision::F32, "precision", &[("f32", Precision::F32), ("bf16", Precision::Bf16)])
}

pub(super) fn ema(table: &mut Table<'_>) -> Option<Ema> {
    let mut table = table.field("ema")?.table("{ decay = … }")?;
    let field = table.field("decay");
    let decay = field.map_or(Some(defaults::EMA_DECAY), |field| {
        field.number(&NumberRange::of((Bound::Excluded(0.0), Bound::Excluded(1.0))))
    });
    table.finish();
    decay.map(|decay| Ema { decay })
}
