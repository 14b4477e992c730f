//! How far a stop has come, told to everything that runs.

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Running,
    Stopping,
    Aborted,
}

/// Sets the stage; the broker has one.
pub struct StageSetter(watch::Sender<Step>);

/// Looks at the stage and waits for it to change.
#[derive(Clone)]
pub struct Stage(watch::Receiver<Step>);

impl Default for StageSetter {
    fn default() -> Self {
        Self(watch::Sender::new(Step::Running))
    }
}

impl StageSetter {
    /// For one more that runs.
    pub fn watch(&self) -> Stage {
        Stage(self.0.subscribe())
    }

    /// No new work is taken; what is in flight is finished.
    pub fn stop(&self) {
        self.raise(Step::Stopping);
    }

    /// The time for finishing is over.
    pub fn abort(&self) {
        self.raise(Step::Aborted);
    }

    fn raise(&self, step: Step) {
        self.0.send_if_modified(|now| {
            let raised = *now < step;
            *now = step.max(*now);
            raised
        });
    }
}

impl Stage {
    /// No new work is to be taken.
    pub fn is_stopping(&self) -> bool {
        *self.0.borrow() >= Step::Stopping
    }

    /// Resolves when no new work is to be taken.
    pub async fn stopping(&mut self) {
        self.at_least(Step::Stopping).await;
    }

    /// Resolves when the time for finishing is over.
    pub async fn aborted(&mut self) {
        self.at_least(Step::Aborted).await;
    }

    async fn at_least(&mut self, step: Step) {
        // The setter lives as long as the broker; without it everything is over.
        let _ = self.0.wait_for(|now| *now >= step).await;
    }
}
