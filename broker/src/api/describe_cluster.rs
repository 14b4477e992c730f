//! DescribeCluster (60), versions 0–2.
//!
//! - 1: the request says whether brokers or controllers are meant; a client that asks for controllers learns that this
//!   is not their port.
//! - 2: fenced brokers can be asked for; there are none.

use gapless_common::{
    error_code::ErrorCode,
    protocol::{
        Text,
        messages::{
            DescribeClusterRequest, DescribeClusterResponse, describe_cluster::DescribeClusterBroker,
        },
    },
};

use super::{ApiError, Incoming};
use crate::{api::reply::Reply, config::NODE_ID};

pub(super) const ERRORS: &[ErrorCode] =
    &[ErrorCode::MISMATCHED_ENDPOINT_TYPE, ErrorCode::UNSUPPORTED_ENDPOINT_TYPE];

/// Kafka's `EndpointType`.
const ENDPOINT_TYPE_BROKERS: i8 = 1;
const ENDPOINT_TYPE_CONTROLLERS: i8 = 2;

pub(super) fn handle(request: &Incoming, body: &DescribeClusterRequest) -> Result<Reply, ApiError> {
    let refused = match body.endpoint_type {
        ENDPOINT_TYPE_BROKERS => None,
        ENDPOINT_TYPE_CONTROLLERS => {
            Some((ErrorCode::MISMATCHED_ENDPOINT_TYPE, "this is a broker's address, not a controller's"))
        }
        _ => Some((ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, "endpoints are brokers (1) or controllers (2)")),
    };
    if let Some((code, why)) = refused {
        return request.answer(&DescribeClusterResponse {
            error_code: request.count(code),
            error_message: Some(Text::from_static(why)),
            endpoint_type: body.endpoint_type,
            ..Default::default()
        });
    }
    request.answer(&DescribeClusterResponse {
        cluster_id: Text::from(request.broker.meta.cluster_id()),
        controller_id: NODE_ID,
        brokers: vec![DescribeClusterBroker {
            broker_id: NODE_ID,
            host: Text::from(request.endpoint.host.as_str()),
            port: i32::from(request.endpoint.port),
            ..Default::default()
        }],
        ..Default::default()
    })
}
