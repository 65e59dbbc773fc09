//! What is kept of crashes: enough to see what happened, and not more than a row of the queue should hold.

use super::state::Task;

/// Most characters kept of one crash.
const MAX_CHARACTERS: usize = 1500;

/// The evidence of a task's crashes with that of its current attempt.
pub(super) fn added(task: &Task, message: &str) -> String {
    let latest = format!("attempt {}: {}", task.attempt, shortened(message));
    match &task.crash_evidence {
        Some(earlier) => format!("{earlier}\n{latest}"),
        None => latest,
    }
}

/// The first line, which says how it ended, and as much of the end as there is room for: what was said last is nearest to the cause.
fn shortened(message: &str) -> String {
    let total = message.chars().count();
    if total <= MAX_CHARACTERS {
        return message.to_owned();
    }
    let first: String = message.lines().next().unwrap_or_default().chars().take(MAX_CHARACTERS / 3).collect();
    let room = MAX_CHARACTERS - first.chars().count();
    let rest: String = message.chars().skip(total - room).collect();
    format!("{first}\n…{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Timestamp;

    #[test]
    fn of_a_long_message_the_first_line_and_the_end_are_kept() {
        let task = Task::submitted(0, Timestamp(0));
        let message = format!("killed by signal 6; its last lines:\n{}the cause", "noise é\n".repeat(2000));
        let kept = added(&task, &message);
        assert!(kept.starts_with("attempt 0: killed by signal 6; its last lines:\n…"), "{kept}");
        assert!(kept.ends_with("the cause") && kept.chars().count() < MAX_CHARACTERS + 30);
    }
}
