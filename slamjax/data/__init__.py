"""The embedded sample; see `slamjax.datasets`."""
