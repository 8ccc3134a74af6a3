from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "nwa_lightning._nw",
            sources=["src_ext/_nw.pyx", "src_ext/nw_fill.c", "src_ext/row_jsd.c"],
            depends=["src_ext/nw_fill.h", "src_ext/nw_fill_lanes.h", "src_ext/row_jsd.h", "src_ext/row_jsd_lanes.h"],
            extra_compile_args=["-O3"],
        )
    ]
)
