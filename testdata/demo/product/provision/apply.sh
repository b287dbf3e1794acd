#!/bin/sh
# Stands for the provisioning of a real product.
echo "hello-cloud is provisioned"
