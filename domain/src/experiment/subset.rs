//! Some classes of a data set, and some examples of each.

use serde::{Deserialize, Serialize};

/// Which examples of a split are kept before they are counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subset {
    /// Classes that are kept, by their label in the source; label `k` of the split is the `k`-th of them. All with their own labels if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<u32>>,
    /// First so many of each class, in the order of the source; all if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_class: Option<u32>,
}

impl Subset {
    /// Whether it is the whole split.
    pub const fn is_all(&self) -> bool {
        self.classes.is_none() && self.per_class.is_none()
    }

    /// The label in the split of an example that has this one in the source; none where its class is not kept.
    pub fn label(&self, of: u32) -> Option<u32> {
        match &self.classes {
            None => Some(of),
            Some(kept) => kept.iter().position(|class| *class == of).map(|label| label as u32),
        }
    }

    /// Examples of each label of the split that the source holds, of which it has so many of each of its own; `classes` of them where all are kept.
    pub fn held(&self, of_each: &[u32], classes: u32) -> Vec<u32> {
        let held = |class: u32| of_each.get(class as usize).copied().unwrap_or(0);
        match &self.classes {
            None => (0..classes).map(held).collect(),
            Some(kept) => kept.iter().copied().map(held).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_renumbered_in_the_given_order() {
        let subset = Subset { classes: Some(vec![7, 0, 3]), per_class: None };
        assert_eq!([7, 0, 3, 1].map(|label| subset.label(label)), [Some(0), Some(1), Some(2), None]);
        assert_eq!(subset.held(&[10, 11, 12, 13], 4), [0, 10, 13]);
        assert_eq!(Subset::default().label(5), Some(5));
        assert_eq!(Subset::default().held(&[10, 11], 3), [10, 11, 0]);
    }
}
