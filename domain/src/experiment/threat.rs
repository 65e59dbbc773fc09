//! Norms and radii of threat models; always in pixel space [0,1].

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The norm in which a perturbation is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Largest change of any channel of any pixel.
    Linf,
    /// Euclidean length over all channels and pixels of an image.
    L2,
    /// Sum of the changes of all channels and pixels of an image.
    L1,
}

impl Norm {
    /// All norms, in the order of the catalogue.
    pub const ALL: [Self; 3] = [Self::Linf, Self::L2, Self::L1];

    /// The name in sweep files, tables and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linf => "linf",
            Self::L2 => "l2",
            Self::L1 => "l1",
        }
    }
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A radius in pixel space [0,1], with the text it was written as: `8/255`, `0.5`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Epsilon {
    text: String,
    value: f64,
}

/// Why a text is not a radius.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEpsilon {
    /// Neither a number nor a fraction of two numbers.
    #[error("`{0}` is not a number or a fraction such as `8/255`")]
    NotANumber(String),
    /// Zero, negative, or not finite.
    #[error("`{0}` is not above zero")]
    NotPositive(String),
}

impl Epsilon {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The radius as a number.
    pub const fn value(&self) -> f64 {
        self.value
    }
}

impl FromStr for Epsilon {
    type Err = InvalidEpsilon;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let number = |part: &str| part.trim().parse::<f64>().map_err(|_| InvalidEpsilon::NotANumber(text.to_owned()));
        let value = match text.split_once('/') {
            Some((above, below)) => number(above)? / number(below)?,
            None => number(text)?,
        };
        if value.is_finite() && value > 0.0 {
            Ok(Self { text: text.to_owned(), value })
        } else {
            Err(InvalidEpsilon::NotPositive(text.to_owned()))
        }
    }
}

impl Eq for Epsilon {}

impl Ord for Epsilon {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.total_cmp(&other.value).then_with(|| self.text.cmp(&other.text))
    }
}

impl PartialOrd for Epsilon {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<String> for Epsilon {
    type Error = InvalidEpsilon;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Epsilon> for String {
    fn from(epsilon: Epsilon) -> Self {
        epsilon.text
    }
}

impl fmt::Display for Epsilon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_keeps_its_text_and_has_its_value() {
        let eps: Epsilon = "8/255".parse().unwrap();
        assert_eq!((eps.text(), eps.value()), ("8/255", 8.0 / 255.0));
    }

    #[test]
    fn zero_negative_and_endless_radii_are_refused() {
        for text in ["0", "-1/255", "1/0", "inf", "nan"] {
            assert_eq!(text.parse::<Epsilon>(), Err(InvalidEpsilon::NotPositive(text.into())), "{text}");
        }
        assert_eq!("8/".parse::<Epsilon>(), Err(InvalidEpsilon::NotANumber("8/".into())));
    }
}
