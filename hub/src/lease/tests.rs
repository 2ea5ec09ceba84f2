//! Silence on a paused clock.

use super::*;

#[tokio::test(start_paused = true)]
async fn silence_counts_from_the_last_plugin_and_longer_before_the_first() {
    let mut silence = Silence::new(false);
    tokio::time::advance(FIRST_PLUGIN_TIMEOUT.saturating_sub(PLUGINS_POLL)).await;
    assert!(!silence.over(false));
    tokio::time::advance(PLUGINS_POLL).await;
    assert!(silence.over(false));
    assert!(!silence.over(true));
    tokio::time::advance(LEASE_PERIOD.saturating_sub(PLUGINS_POLL)).await;
    assert!(!silence.over(false));
    tokio::time::advance(PLUGINS_POLL).await;
    assert!(silence.over(false));
}

#[tokio::test(start_paused = true)]
async fn a_restarted_hub_starts_a_full_period() {
    let mut silence = Silence::new(true);
    tokio::time::advance(LEASE_PERIOD.saturating_sub(PLUGINS_POLL)).await;
    assert!(!silence.over(false));
    tokio::time::advance(PLUGINS_POLL).await;
    assert!(silence.over(false));
}

#[test]
fn the_switch_is_held_far_enough_ahead() {
    let terms = |keep| Terms { keep };
    assert!(terms(None).ahead() >= DEADMAN_AHEAD + RENEW_PERIOD);
    let ttl = Duration::from_hours(1);
    assert!(terms(Some(ttl)).ahead() >= ttl + RENEW_PERIOD);
    assert!(terms(Some(PLUGINS_POLL)).ahead() >= DEADMAN_AHEAD + RENEW_PERIOD);
}
