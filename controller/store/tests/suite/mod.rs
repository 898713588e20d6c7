//! What every store must do. Each test binary runs all of it on its own kind of store.
#![allow(dead_code)]

pub mod cut;
pub mod following;
pub mod leases;
pub mod masters;
pub mod members;
pub mod model;
pub mod races;
pub mod reading;
pub mod watching;
pub mod whole;
pub mod writing;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pergola_store::Store;

/// One store for one test; dropped at its end.
pub trait Fixture: Sized {
    fn start() -> impl Future<Output = Self>;
    fn store(&self) -> Arc<dyn Store>;
}

/// Awaits something that must come soon; a hang fails with what was awaited.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited 20 s for {what}"),
    }
}

/// Makes a test of each case of the suite, on a fresh fixture each.
#[macro_export]
macro_rules! suite {
    ($fixture:ty) => {
        $crate::suite!($fixture:
            writing::revisions_and_values,
            writing::conditional_writes,
            writing::compares,
            writing::steps_and_results,
            writing::refused_whole,
            writing::too_large,
            writing::batches_of_observations,
            writing::batch_writer_waits_out_an_outage,
            writing::batch_writer_drops_only_the_bad,
            writing::batch_writer_gives_back_what_came_too_late,
            reading::listing_in_key_order,
            reading::the_past_is_kept,
            reading::pages_are_of_one_revision,
            reading::compaction_ends_the_past,
            watching::all_events_of_a_revision_together,
            watching::history_then_live,
            watching::only_the_prefix,
            watching::compacted_tells_the_oldest,
            following::snapshot_then_batches,
            following::cuts_lose_and_repeat_nothing,
            following::compaction_during_an_outage,
            following::a_large_state_comes_in_parts,
            leases::end_removes_the_keys,
            leases::keep_alive_prolongs,
            leases::revoke_and_detach,
            races::counters_are_linearizable,
            races::one_creator_wins,
            masters::tasks_share_devices_and_take_over,
            masters::who_lives_is_named_and_who_ended_is_waited_for,
            model::agrees_with_the_model,
            whole::moves_there_and_back,
            whole::backup_and_restore,
            whole::an_unfinished_target_is_known,
            whole::formats_upgrade_step_by_step,
            whole::a_format_is_upgraded_under_those_who_write
        );
    };
    ($fixture:ty: $($module:ident::$case:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let fixture = <$fixture as suite::Fixture>::start().await;
                suite::$module::$case(suite::Fixture::store(&fixture)).await;
            }
        )*
    };
}
