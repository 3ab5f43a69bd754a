"""Where steps are done side by side: processes of this machine, or a Ray cluster; one contract."""
