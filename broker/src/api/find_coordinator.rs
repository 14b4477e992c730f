//! FindCoordinator (10), versions 0–6. There are no groups and no transactions yet, so the answer is always
//! COORDINATOR_NOT_AVAILABLE. It is served at all because librdkafka turns lz4 off for a broker that does not advertise
//! this key (`rdkafka_feature.c`).
//!
//! Version 4 asks for several keys at once.

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        Text,
        messages::{FindCoordinatorRequest, FindCoordinatorResponse, find_coordinator::Coordinator},
    },
};

use super::reply::Reply;
use super::{ApiError, Incoming};

pub(super) const ERRORS: &[ErrorCode] = &[ErrorCode::COORDINATOR_NOT_AVAILABLE];

const WHY: &str =
    "this broker serves neither consumer groups nor transactions yet; assign partitions instead";

pub(super) fn handle(request: &Incoming, body: &FindCoordinatorRequest) -> Result<Reply, ApiError> {
    let error_code = request.count(ErrorCode::COORDINATOR_NOT_AVAILABLE);
    let error_message = Some(Text::from_static(WHY));
    if request.version < 4 {
        return request.answer(&FindCoordinatorResponse {
            error_code,
            error_message,
            node_id: -1,
            port: -1,
            ..Default::default()
        });
    }
    let coordinators = body
        .coordinator_keys
        .iter()
        .map(|key| Coordinator {
            key: key.clone(),
            node_id: -1,
            host: Text::default(),
            port: -1,
            error_code,
            error_message: error_message.clone(),
        })
        .collect();
    request.answer(&FindCoordinatorResponse { coordinators, ..Default::default() })
}
