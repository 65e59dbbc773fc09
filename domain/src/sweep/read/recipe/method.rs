//! The methods, and which keys belong to which.

use super::TRAINING_KEYS;
use crate::sweep::table::Table;

/// What `method = …` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    None,
    Standard,
    LinearProbe,
    LinearProbeThenFineTune,
    PgdAt,
    RobustLinearInit,
    FastAt,
    FreeAt,
    Trades,
    Mart,
    Dm,
    Twins,
}

pub(super) const METHODS: [(&str, Method); 12] = [
    ("standard", Method::Standard),
    ("linear-probe", Method::LinearProbe),
    ("lp-ft", Method::LinearProbeThenFineTune),
    ("pgd-at", Method::PgdAt),
    ("robust-linear-init", Method::RobustLinearInit),
    ("fast-at", Method::FastAt),
    ("free-at", Method::FreeAt),
    ("trades", Method::Trades),
    ("mart", Method::Mart),
    ("dm", Method::Dm),
    ("twins", Method::Twins),
    ("none", Method::None),
];

impl Method {
    /// Whether it perturbs images.
    pub(super) const fn is_adversarial(self) -> bool {
        match self {
            Self::None | Self::Standard | Self::LinearProbe | Self::LinearProbeThenFineTune => false,
            Self::PgdAt
            | Self::RobustLinearInit
            | Self::FastAt
            | Self::FreeAt
            | Self::Trades
            | Self::Mart
            | Self::Dm
            | Self::Twins => true,
        }
    }

    /// Says of each key that belongs to other methods why it can't be.
    pub(super) fn refuse_foreign_keys(self, table: &mut Table<'_>) {
        if self == Self::None {
            table.refuse(&TRAINING_KEYS, "belongs to a training, and the method `none` trains nothing");
            return;
        }
        let mut refuse = |belongs: bool, keys: &[&'static str], to: &str| {
            if !belongs {
                table.refuse(keys, &format!("belongs to the {to}"));
            }
        };
        refuse(self.is_adversarial(), &["inner", "eps_schedule"], "methods that perturb the images");
        refuse(matches!(self, Self::Trades | Self::Dm), &["beta"], "methods `trades` and `dm`");
        refuse(self == Self::Dm, &["coefficient"], "method `dm`");
        refuse(matches!(self, Self::Mart | Self::Twins), &["lambda"], "methods `mart` and `twins`");
        refuse(self == Self::FreeAt, &["replays"], "method `free-at`");
        if self == Self::LinearProbe {
            let why = "does not go with `linear-probe`, which trains the head alone";
            table.refuse(&["freeze", "head_first", "dropout", "batch_norm_momentum"], why);
        }
    }
}
