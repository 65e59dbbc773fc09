//! Who shares the workers with whom, and on what terms: users, and the sweeps that they are charged for.
//!
//! None of this belongs to the identity of a task or of a sweep: it says when something runs, never what comes out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Who submits sweeps and shares the workers with others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

impl UserName {
    /// The name of all who do not say theirs.
    pub const ANONYMOUS: &'static str = "anonymous";

    /// Whoever does not say who he is.
    pub fn anonymous() -> Self {
        Self(Self::ANONYMOUS.to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that cannot be the name of a user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is not a user: expected 1 to 64 letters, digits, `-`, `_`, `.`, `@` or `+`, the first a letter, a digit or `_`"
)]
pub struct InvalidUser {
    /// The text as it was found.
    pub found: String,
}

impl TryFrom<String> for UserName {
    type Error = InvalidUser;

    fn try_from(text: String) -> Result<Self, InvalidUser> {
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@' | '+'));
        if begins && fits && text.len() <= 64 { Ok(Self(text)) } else { Err(InvalidUser { found: text }) }
    }
}

impl FromStr for UserName {
    type Err = InvalidUser;

    fn from_str(text: &str) -> Result<Self, InvalidUser> {
        text.to_owned().try_into()
    }
}

impl From<UserName> for String {
    fn from(name: UserName) -> Self {
        name.0
    }
}

/// How much of the whole somebody gets beside others who want something too: twice the weight, twice the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(u32);

/// A number that cannot be a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} is not a weight: expected 1 to {}", Weight::MOST)]
pub struct InvalidWeight {
    /// The number as it was found.
    pub found: u32,
}

impl Weight {
    /// The largest one.
    pub const MOST: u32 = 1000;
    /// Of whoever says nothing.
    pub const ONE: Self = Self(1);

    /// The weight as a number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Weight {
    type Error = InvalidWeight;

    fn try_from(found: u32) -> Result<Self, InvalidWeight> {
        if (1..=Self::MOST).contains(&found) { Ok(Self(found)) } else { Err(InvalidWeight { found }) }
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

/// Tasks that may run at once; none: as many as there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quota(Option<u32>);

impl Quota {
    /// Without a bound.
    pub const NONE: Self = Self(None);

    /// At most so many; none where that is 0, which would be a pause.
    pub const fn of(most: u32) -> Option<Self> {
        if most == 0 { None } else { Some(Self(Some(most))) }
    }

    /// At most so many.
    pub const fn most(self) -> Option<u32> {
        self.0
    }

    /// Tasks that may still be started where so many run.
    pub const fn room(self, running: u32) -> u32 {
        match self.0 {
            Some(most) => most.saturating_sub(running),
            None => u32::MAX,
        }
    }
}

/// What a submission or a change asks for; what is none stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Share of a sweep beside others of its user and priority.
    pub weight: Option<Weight>,
    /// Higher goes first, among the sweeps of its user.
    pub priority: Option<i32>,
    /// Tasks that may run at once.
    pub quota: Option<Quota>,
    /// Whether it may take slots from sweeps of lower priority.
    pub preempts: Option<bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_names_that_fit_into_a_table_and_a_command_line() {
        for name in ["ada", "a.b-c_d", "_svc", "ada@lab.example", "7of9", "x+y"] {
            assert_eq!(name.parse::<UserName>().unwrap().as_str(), name);
        }
        for name in ["", "-rf", "a b", "ä", ".hidden", "a/b", &"x".repeat(65)] {
            name.parse::<UserName>().unwrap_err();
        }
    }

    #[test]
    fn weights_are_positive_and_bounded_and_quotas_leave_room() {
        assert!(Weight::try_from(0).is_err() && Weight::try_from(1001).is_err());
        assert_eq!(Weight::try_from(1000).unwrap().get(), 1000);
        assert_eq!(Quota::of(0), None);
        let three = Quota::of(3).unwrap();
        assert_eq!([0, 2, 3, 9].map(|running| three.room(running)), [3, 1, 0, 0]);
        assert_eq!(Quota::NONE.room(5), u32::MAX);
    }
}
