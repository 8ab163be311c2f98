//! All waiting goes through here, so that a simulated machine can be in a hurry and the real one never is.

use std::time::{Duration, Instant};

use super::Machine;

/// A busy test machine is not to be taken for a silent device.
const LEAST_DEADLINE: Duration = Duration::from_secs(3);

impl Machine {
    /// Waits between two looks at the device.
    pub async fn pause(&self, real: Duration) {
        tokio::time::sleep(real.mul_f64(self.time_scale())).await;
    }

    /// The end of a time of watching the device.
    pub fn until(&self, real: Duration) -> Until {
        Until(Instant::now() + self.deadline(real))
    }

    /// How long an answer may take that takes up to `real` on real hardware.
    pub fn deadline(&self, real: Duration) -> Duration {
        real.mul_f64(self.time_scale()).max(LEAST_DEADLINE).min(real)
    }
}

/// A moment after which nothing is waited for any more.
#[derive(Clone, Copy, Debug)]
pub struct Until(Instant);

impl Until {
    pub fn is_over(self) -> bool {
        Instant::now() >= self.0
    }
}
