//! Where metrics go: to real exporters. Into a no-op they would cost too little.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::{
    global,
    metrics::{Meter, MeterProvider as _},
};
use opentelemetry_30::metrics::{Meter as Meter30, MeterProvider as _};
use opentelemetry_sdk::metrics::{ManualReader, SdkMeterProvider};
use opentelemetry_sdk_30::metrics::{
    ManualReader as ManualReader30, SdkMeterProvider as SdkMeterProvider30,
};
use opentelemetry_sdk_32::metrics::{
    ManualReader as ManualReader32, SdkMeterProvider as SdkMeterProvider32,
};

/// Prometheus with buckets, and each version of the OpenTelemetry SDK that a peer asks for.
pub(crate) struct Exporters {
    prometheus: PrometheusHandle,
    opentelemetry: SdkMeterProvider,
    opentelemetry_30: SdkMeterProvider30,
    opentelemetry_32: SdkMeterProvider32,
}

impl Exporters {
    /// Makes them the ones of this process.
    pub(crate) fn install() -> Self {
        let prometheus = prometheus();
        let opentelemetry = SdkMeterProvider::builder()
            .with_reader(ManualReader::builder().build())
            .build();
        global::set_meter_provider(opentelemetry.clone());
        Self {
            prometheus,
            opentelemetry,
            opentelemetry_30: SdkMeterProvider30::builder()
                .with_reader(ManualReader30::builder().build())
                .build(),
            opentelemetry_32: SdkMeterProvider32::builder()
                .with_reader(ManualReader32::builder().build())
                .build(),
        }
    }

    pub(crate) fn meter(&self) -> Meter {
        self.opentelemetry.meter("bench")
    }

    pub(crate) fn meter_30(&self) -> Meter30 {
        self.opentelemetry_30.meter("bench")
    }

    pub(crate) fn provider_32(&self) -> SdkMeterProvider32 {
        self.opentelemetry_32.clone()
    }

    /// Sorts samples into their buckets, as an exporter does from time to time. Without it they
    /// would be kept one by one. OpenTelemetry's are sorted as they come.
    pub(crate) fn drain(&self) {
        self.prometheus.run_upkeep();
    }
}

/// Installs the Prometheus exporter alone.
pub(crate) fn prometheus() -> PrometheusHandle {
    PrometheusBuilder::new()
        .set_buckets(&[0.001, 0.01, 0.1, 1.0, 10.0])
        .expect("there are buckets")
        .install_recorder()
        .expect("the first recorder")
}
