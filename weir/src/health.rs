//! What one of Weir's programs says of itself, wherever it is asked.

use serde::Deserialize;

use crate::admin::Answer;

/// A node's metrics are no longer.
pub(crate) const MAX_ANSWER: usize = 64 << 20;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Health {
    /// What keeps it from serving.
    pub(crate) unready: Option<String>,
    /// Of mesh-node.
    pub(crate) captured_pods: Option<u64>,
}

impl Health {
    /// `get` asks the program for a path. One that says whether it serves need not tell its metrics.
    pub(crate) async fn ask<E, F>(get: impl Fn(&'static str) -> F) -> Result<Self, E>
    where
        F: Future<Output = Result<Answer, E>>,
    {
        let ready = get("/readyz").await?;
        let unready = (ready.status != 200).then(|| ready.text().trim().to_owned());
        let metrics = get("/metrics").await.ok().filter(|answer| answer.status == 200);
        Ok(Self { unready, captured_pods: metrics.and_then(|answer| captured_pods(&answer.text())) })
    }
}

fn captured_pods(metrics: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix("weir_captured_pods ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captured_pods_are_read_from_the_metrics() {
        let metrics = "# TYPE weir_captured_pods gauge\nweir_captured_pods 7\n# EOF\n";
        assert_eq!(captured_pods(metrics), Some(7));
        assert_eq!(captured_pods("weir_other 7\n"), None);
    }
}
